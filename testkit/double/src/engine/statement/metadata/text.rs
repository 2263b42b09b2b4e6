//! `sp_helptext` and `sp_refreshview`.

use std::sync::Arc;

use super::bind;
use crate::engine::batch::Executor;
use crate::engine::bind::Binder;
use crate::engine::catalog::sees_definition;
use crate::engine::collation::Label;
use crate::engine::env::Env;
use crate::engine::fault::{Fault, of_binding};
use crate::engine::statement::procedure::Called;
use crate::engine::syntax::ast::{Ddl, ModuleContent, StatementKind};
use crate::engine::syntax::parse_name;
use crate::storage::TableDef;
use crate::{Column, Origin, Param, SqlError, SqlType, Value};

/// Characters of a line that `sp_helptext` answers.
const LINE: usize = 255;

/// Error 15009.
fn unknown(env: &Env<'_>, name: &str) -> SqlError {
    let database = env.status.database.name();
    SqlError::new(
        15009,
        16,
        1,
        format!(
            "The object '{name}' does not exist in database '{database}' or is invalid for this operation."
        ),
    )
}

fn object(env: &Env<'_>, name: &str) -> Result<Arc<TableDef>, SqlError> {
    let parsed = parse_name(name)?;
    let schema = env.schema_of(&parsed);
    let found = env.with_txn(|txn| txn.object(&schema, &parsed.name))?;
    found.filter(|object| env.status.rights.sees(object)).ok_or_else(|| unknown(env, name))
}

impl Executor<'_> {
    /// The text of a view or procedure, a line in a row.
    pub(super) fn help_text(&mut self, params: &[Param]) -> Result<Called, Fault> {
        let parameters = [("@objname", SqlType::NVarChar(Some(776)), None)];
        let arguments = bind("sp_helptext", &parameters, params)?;
        let name = arguments[0].value.to_text().unwrap_or_default();
        self.with_env(false, |env, _| {
            let object = object(env, &name)?;
            let module =
                object.module.as_ref().filter(|_| sees_definition(&env.status.rights, &object));
            let Some(module) = module else {
                let text = format!("There is no text for object '{name}'.");
                return Err(SqlError::new(15197, 16, 1, text).into());
            };
            let column = Column {
                name: "Text".to_owned(),
                ty: SqlType::NVarChar(Some(255)),
                nullable: true,
                origin: Origin::Stored,
                label: Label::default(),
            };
            env.sink.columns(&[column])?;
            let mut count = 0;
            for line in module.definition.split_inclusive('\n') {
                let units: Vec<u16> = line.encode_utf16().collect();
                for part in units.chunks(LINE) {
                    env.sink.row(&[Value::NString(part.to_vec().into())])?;
                    count += 1;
                }
            }
            Ok(env.sink.done(Some(count))?)
        })?;
        Ok(Called { status: 0, outputs: Vec::new() })
    }

    /// Finds a view's columns anew.
    pub(super) fn refresh_view(&mut self, params: &[Param]) -> Result<Called, Fault> {
        let parameters = [("@viewname", SqlType::NVarChar(Some(776)), None)];
        let arguments = bind("sp_refreshview", &parameters, params)?;
        let name = arguments[0].value.to_text().unwrap_or_default();
        self.with_env(true, |env, variables| {
            let view = object(env, &name)?;
            let text = match &view.module {
                Some(module) if view.is_view() && env.status.rights.may_define() => {
                    module.definition.clone()
                }
                _ => return Err(unknown(env, &name).into()),
            };
            let batch = env.shared.parse(&text)?;
            let statement = batch.statements.first().map(|statement| &statement.kind);
            let Some(StatementKind::Ddl(Ddl::Module(module))) = statement else {
                return Err(unknown(env, &name).into());
            };
            let ModuleContent::View { columns, query, .. } = &module.content else {
                return Err(unknown(env, &name).into());
            };
            let binder = Binder::new(env, variables);
            let columns =
                binder.view_columns(module, &view.schema, columns, query).map_err(of_binding)?;
            let view = TableDef { columns, next_column_id: 1, ..TableDef::clone(&view) };
            env.with_txn(|txn| txn.redefine(view, "", None))?;
            Ok(())
        })?;
        Ok(Called { status: 0, outputs: Vec::new() })
    }
}
