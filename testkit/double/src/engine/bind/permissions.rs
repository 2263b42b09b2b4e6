//! `sys.fn_my_permissions`: what the user may do with a securable.

use super::join::{Leaf, Tree};
use super::{Binder, Bound, Scope, Source, SourceColumn, types, unsupported};
use crate::engine::env::Env;
use crate::engine::plan::Virtual;
use crate::engine::security::Rights;
use crate::engine::statement::security::{
    DATABASE_PERMISSIONS, OBJECT_PERMISSIONS, SERVER_PERMISSIONS,
};
use crate::engine::syntax::ast::{Expr, ObjectName};
use crate::engine::syntax::parse_name;
use crate::storage::{Row, TableDef};
use crate::{Origin, SqlError, SqlType, Value};

const NAME: SqlType = SqlType::NVarChar(Some(128));

impl Binder<'_, '_> {
    /// Adds the function to the scope, if the name is its.
    ///
    /// # Errors
    /// 313; those of binding its arguments.
    pub(super) fn my_permissions(
        &self,
        name: &ObjectName,
        arguments: &[Expr],
        alias: Option<&str>,
        scope: &mut Scope<'_>,
    ) -> Bound<Option<Tree>> {
        let of_sys = name.schema.as_ref().is_none_or(|schema| super::same_name(schema, "sys"));
        if !of_sys || !super::same_name(&name.name, "fn_my_permissions") {
            return Ok(None);
        }
        let [securable, class] = arguments else {
            return Err(SqlError::new(
                313,
                16,
                3,
                "An insufficient number of arguments were supplied for the procedure or function fn_my_permissions.",
            ));
        };
        let bind = |value: &Expr| types::implicit(self.scalar(value, scope)?, &NAME);
        let bound = vec![bind(securable)?.node, bind(class)?.node];
        let slot = scope.sources.len();
        let column = |name: &str| SourceColumn {
            name: name.to_owned(),
            ty: Some(NAME),
            nullable: true,
            origin: Origin::Expression,
            label: None,
            mask: None,
        };
        let columns = ["entity_name", "subentity_name", "permission_name"].map(column);
        let width = columns.len();
        scope.sources.push(Source {
            name: alias.unwrap_or(&name.name).to_owned(),
            schema: None,
            slot,
            columns: columns.into(),
            unreadable: Vec::new(),
            used: Default::default(),
            stored: None,
        });
        let leaf = Leaf::Virtual(Virtual {
            slot,
            producer: Box::new(|env, arguments| {
                Ok(Box::new(permissions(env, arguments)?.into_iter().map(Ok)))
            }),
            arguments: bound,
            by_first: false,
            filter: None,
        });
        Ok(Some(Tree::Leaf(leaf, width)))
    }
}

fn row(entity: &str, part: &str, permission: &str) -> Row {
    [entity, part, permission].map(Value::text).into()
}

fn permissions(env: &Env<'_>, arguments: &[Value]) -> Result<Vec<Row>, SqlError> {
    let rights = &env.status.rights;
    let class = arguments[1].to_text().unwrap_or_default().to_ascii_uppercase();
    let held = |known: &[&str], entity: &str, has: &dyn Fn(&str) -> bool| -> Vec<Row> {
        known.iter().filter(|name| has(name)).map(|name| row(entity, "", name)).collect()
    };
    match class.as_str() {
        "SERVER" => {
            Ok(held(&SERVER_PERMISSIONS, "server", &|name| rights.has_server_permission(name)))
        }
        "DATABASE" => Ok(held(&DATABASE_PERMISSIONS, "database", &|name| {
            rights.has_database_permission(name)
        })),
        "OBJECT" => {
            let text = arguments[0].to_text().unwrap_or_default();
            let Ok(name) = parse_name(&text) else {
                return Ok(Vec::new());
            };
            let schema = name.schema.as_deref().unwrap_or("dbo");
            let found = env.with_txn(|txn| txn.object(schema, &name.name))?;
            Ok(found.map_or_else(Vec::new, |table| of_object(rights, &table, &text)))
        }
        _ => Err(unsupported("this class of securables")),
    }
}

fn of_object(rights: &Rights, table: &TableDef, entity: &str) -> Vec<Row> {
    let mut rows: Vec<Row> = OBJECT_PERMISSIONS
        .iter()
        .filter(|name| rights.has_object_permission(name, table))
        .map(|name| row(entity, "", name))
        .collect();
    for column in &table.columns {
        let has = [
            ("SELECT", rights.may_read(table, column.id)),
            ("UNMASK", rights.may_unmask(table, column.id)),
        ];
        let held = has.iter().filter(|(_, has)| *has);
        rows.extend(held.map(|(name, _)| row(entity, &column.name, name)));
    }
    rows
}
