//! `sp_rename`.

use crate::SqlError;
use crate::engine::batch::Executor;
use crate::engine::bind::unsupported;
use crate::engine::env::Env;
use crate::engine::fault::Fault;
use crate::engine::syntax::ast::ObjectName;
use crate::engine::syntax::parse_name;
use crate::storage::{IndexKind, TableDef, same_name};
use crate::{Param, Value};

use super::procedure::Called;

/// What is renamed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A table, view or procedure.
    Object,
    Constraint,
    Column,
    Index,
}

impl Executor<'_> {
    /// `sp_rename 'schema.table', 'new'`; of a column or index `'schema.table.part'`, with its
    /// `@objtype` or, where the name says what is meant, without.
    /// <https://learn.microsoft.com/sql/relational-databases/system-stored-procedures/sp-rename-transact-sql>
    pub(super) fn rename(&mut self, params: &[Param]) -> Result<Called, Fault> {
        let find = |name: &str, at: usize| {
            params
                .iter()
                .find(|param| param.name.eq_ignore_ascii_case(name))
                .or_else(|| params.get(at).filter(|param| param.name.is_empty()))
                .and_then(|param| Value::to_text(&param.value))
        };
        let kind = find("@objtype", 2).map(|kind| kind.to_ascii_uppercase());
        let (Some(old), Some(new)) = (find("@objname", 0), find("@newname", 1)) else {
            return Err(SqlError::new(
                201,
                16,
                4,
                "Procedure or function 'sp_rename' expects parameter '@objname', which was not supplied.",
            )
            .into());
        };
        let name = parse_name(&old)?;
        self.with_env(true, |env, _| {
            if !env.status.rights.may_define() {
                return Err(not_found(env, &old));
            }
            let kinds: &[Kind] = match kind.as_deref() {
                None => &[Kind::Object, Kind::Constraint, Kind::Column, Kind::Index],
                Some("OBJECT") => &[Kind::Object, Kind::Constraint],
                Some("COLUMN") => &[Kind::Column],
                Some("INDEX") => &[Kind::Index],
                Some(_) => return Err(Fault::Compile(unsupported("sp_rename of this kind"))),
            };
            let mut meant = Vec::new();
            for kind in kinds {
                let table = owner(env, &name, *kind)?;
                meant.extend(table.map(|table| (*kind, table)));
            }
            match (meant.as_slice(), kind.as_deref()) {
                ([(found, table)], _) => rename(env, table, *found, &name.name, &new),
                ([], None | Some("OBJECT")) => Err(not_found(env, &old)),
                (_, kind) => Err(SqlError::new(
                    15248,
                    11,
                    1,
                    format!(
                        "Either the parameter @objname is ambiguous or the claimed @objtype ({}) is wrong.",
                        kind.unwrap_or("(null)")
                    ),
                )
                .into()),
            }
        })?;
        Ok(Called { status: 0, outputs: Vec::new() })
    }
}

fn not_found(env: &Env<'_>, name: &str) -> Fault {
    SqlError::new(
        15225,
        11,
        1,
        format!(
            "No item by the name of '{name}' could be found in the current database '{}'.",
            env.status.database.name()
        ),
    )
    .into()
}

/// The table that a name of this kind belongs to, if there is one.
fn owner(env: &Env<'_>, name: &ObjectName, kind: Kind) -> Result<Option<TableDef>, SqlError> {
    let found = match kind {
        Kind::Object => {
            let schema = name.schema.as_deref().unwrap_or("dbo");
            env.with_txn(|txn| txn.object(schema, &name.name))?
        }
        Kind::Constraint => {
            let schema = name.schema.as_deref().unwrap_or("dbo");
            env.with_txn(|txn| txn.tables()).into_iter().find(|table| {
                same_name(&table.schema, schema)
                    && table.constraint_names().any(|known| same_name(known, &name.name))
            })
        }
        Kind::Column | Kind::Index => {
            let Some(table) = &name.schema else {
                return Ok(None);
            };
            let schema = name.database.as_deref().unwrap_or("dbo");
            env.with_txn(|txn| txn.table(schema, table))?.filter(|table| match kind {
                Kind::Column => table.column(&name.name).is_some(),
                _ => table.indexes.iter().any(|index| same_name(&index.name, &name.name)),
            })
        }
    };
    Ok(found.map(|table| TableDef::clone(&table)))
}

fn taken(new: &str, kind: &str) -> SqlError {
    SqlError::new(
        15335,
        11,
        1,
        format!(
            "Error: The new name '{new}' is already in use as a {kind} name and would cause a duplicate that is not permitted."
        ),
    )
}

fn rename(env: &Env<'_>, table: &TableDef, kind: Kind, old: &str, new: &str) -> Result<(), Fault> {
    // The new name of an object is one that no object of its schema has.
    let object = |error: SqlError| if error.number == 2714 { taken(new, "object") } else { error };
    let mut changed = TableDef::clone(table);
    match kind {
        Kind::Object => {
            return Ok(env.with_txn(|txn| txn.rename_table(table.id, new)).map_err(object)?);
        }
        Kind::Constraint => rename_constraint(&mut changed, old, new),
        Kind::Column => rename_column(&mut changed, old, new)?,
        Kind::Index => {
            if table.indexes.iter().any(|index| same_name(&index.name, new)) {
                return Err(taken(new, "INDEX").into());
            }
            changed
                .indexes
                .iter_mut()
                .filter(|index| same_name(&index.name, old))
                .for_each(|index| index.name = new.to_owned());
        }
    }
    env.with_txn(|txn| txn.alter_table(changed, "", None)).map_err(object)?;
    Ok(())
}

fn rename_constraint(table: &mut TableDef, old: &str, new: &str) {
    let keys = table.indexes.iter_mut().filter(|index| index.kind != IndexKind::Index);
    let defaults = table.columns.iter_mut().filter_map(|column| column.default.as_mut());
    keys.map(|index| &mut index.name)
        .chain(defaults.map(|default| &mut default.name))
        .chain(table.checks.iter_mut().map(|check| &mut check.name))
        .chain(table.foreign_keys.iter_mut().map(|key| &mut key.name))
        .filter(|name| same_name(name, old))
        .for_each(|name| *name = new.to_owned());
}

fn rename_column(table: &mut TableDef, old: &str, new: &str) -> Result<(), Fault> {
    if table.column(new).is_some() {
        return Err(taken(new, "COLUMN").into());
    }
    let Some(at) = table.position(old) else {
        return Ok(());
    };
    let quoted = format!("[{}]", table.columns[at].name.to_lowercase());
    let uses = |text: &str| text.to_lowercase().contains(&quoted);
    let computed = table.columns.iter().filter_map(|column| column.computed.as_ref());
    let filters = table.indexes.iter().filter_map(|index| index.filter.as_ref());
    let used = table.checks.iter().any(|check| uses(&check.definition))
        || computed.into_iter().any(|computed| uses(&computed.definition))
        || filters.into_iter().any(|filter| uses(&filter.definition));
    if used {
        return Err(SqlError::new(
            15336,
            16,
            1,
            format!(
                "Object '{}.{old}' cannot be renamed because the object participates in enforced dependencies.",
                table.full_name()
            ),
        )
        .into());
    }
    table.columns[at].name = new.to_owned();
    Ok(())
}
