//! Extended properties: `sp_addextendedproperty`, `sp_updateextendedproperty`,
//! `sp_dropextendedproperty`.
//! <https://learn.microsoft.com/sql/relational-databases/system-stored-procedures/sp-addextendedproperty-transact-sql>

use std::sync::Arc;

use crate::engine::batch::Executor;
use crate::engine::env::Env;
use crate::engine::fault::Fault;
use crate::storage::{
    CLASS_INDEX, CLASS_OBJECT, ModuleKind, Owner, PropertyDef, TableDef, same_name,
};
use crate::value::Variant;
use crate::{Param, SqlError, SqlType, Value};

use super::procedure::Called;

/// What is done with a property.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Act {
    Add,
    Update,
    Drop,
}

/// Most bytes of a property's value.
const MAX_BYTES: usize = 7500;

const OF_DATABASE: u8 = 0;
const OF_SCHEMA: u8 = 3;
const OF_TYPE: u8 = 6;
const OF_SPACE: u8 = 20;
const OF_FUNCTION: u8 = 21;

impl Executor<'_> {
    /// Calls one of the procedures by its bare name; none if it is no such one.
    pub(super) fn property_procedure(
        &mut self,
        name: &str,
        params: &[Param],
    ) -> Result<Option<Called>, Fault> {
        let act = match name {
            "sp_addextendedproperty" => Act::Add,
            "sp_updateextendedproperty" => Act::Update,
            "sp_dropextendedproperty" => Act::Drop,
            _ => return Ok(None),
        };
        let mut order = vec!["@name"];
        if act != Act::Drop {
            order.push("@value");
        }
        order.extend(LEVELS);
        if let Some(unknown) = params.iter().find(|param| {
            !param.name.is_empty() && !order.iter().any(|o| o.eq_ignore_ascii_case(&param.name))
        }) {
            return Err(SqlError::new(
                8145,
                16,
                2,
                format!("{} is not a parameter for procedure {name}.", unknown.name),
            )
            .into());
        }
        let given = |wanted: &str| {
            let at = order.iter().position(|known| *known == wanted);
            params
                .iter()
                .find(|param| param.name.eq_ignore_ascii_case(wanted))
                .or_else(|| params.get(at?).filter(|param| param.name.is_empty()))
        };
        let text = |wanted: &str| given(wanted).and_then(|param| param.value.to_text());
        let invalid = || {
            let text =
                format!("An invalid parameter or option was specified for procedure 'sys.{name}'.");
            SqlError::new(15600, 15, 1, text)
        };
        let property = text("@name").ok_or_else(invalid)?;
        let levels: Vec<Option<(String, String)>> = LEVELS
            .chunks(2)
            .map(|pair| match (text(pair[0]), text(pair[1])) {
                (None, None) => Ok(None),
                (Some(kind), Some(name)) => Ok(Some((kind.to_ascii_uppercase(), name))),
                _ => Err(invalid()),
            })
            .collect::<Result<_, _>>()?;
        if levels.windows(2).any(|pair| pair[0].is_none() && pair[1].is_some()) {
            return Err(invalid().into());
        }
        let value = match given("@value").filter(|_| act != Act::Drop) {
            None => Value::Null,
            Some(param) => variant(param).ok_or_else(invalid)?,
        };
        self.with_env(true, |env, _| {
            let of = owner(env, &levels)?;
            change(env, act, PropertyDef { of, name: property, value }, &levels)
        })?;
        Ok(Some(Called { status: 0, outputs: Vec::new() }))
    }
}

const LEVELS: [&str; 6] =
    ["@level0type", "@level0name", "@level1type", "@level1name", "@level2type", "@level2name"];

/// A value as `sql_variant`; none where that does not hold it.
fn variant(param: &Param) -> Option<Value> {
    let bytes = match &param.value {
        Value::String(text) => text.len(),
        Value::NString(text) => 2 * text.len(),
        Value::Binary(bytes) => bytes.len(),
        _ => 0,
    };
    let ty = match &param.ty {
        SqlType::VarChar(None) => SqlType::VarChar(Some(8000)),
        SqlType::NVarChar(None) => SqlType::NVarChar(Some(4000)),
        other => other.clone(),
    };
    match &param.value {
        _ if bytes > MAX_BYTES => None,
        Value::Null | Value::Variant(_) => Some(param.value.clone()),
        value => Some(Value::Variant(Arc::new(Variant { ty, value: value.clone() }))),
    }
}

fn shown(levels: &[Option<(String, String)>]) -> String {
    let names: Vec<&str> = levels.iter().flatten().map(|(_, name)| name.as_str()).collect();
    if names.is_empty() { "object specified".to_owned() } else { names.join(".") }
}

/// Error 15135.
fn no_object(levels: &[Option<(String, String)>]) -> SqlError {
    SqlError::new(
        15135,
        16,
        8,
        format!(
            "Object is invalid. Extended properties are not permitted on '{}', or the object does not exist.",
            shown(levels)
        ),
    )
}

fn owner(env: &Env<'_>, levels: &[Option<(String, String)>]) -> Result<Owner, Fault> {
    if !env.status.rights.may_define() {
        return Err(no_object(levels).into());
    }
    let found = match levels {
        [None, ..] => Some(Owner { class: OF_DATABASE, major: 0, minor: 0 }),
        [Some((kind, name)), None, _] => alone(env, kind, name),
        [Some((kind, schema)), Some((of, name)), part] if is_schema(kind) => {
            within(env, schema, (of, name), part.as_ref())?
        }
        _ => None,
    };
    Ok(found.ok_or_else(|| no_object(levels))?)
}

/// USER is what SCHEMA was called before 2005, and still is in scripts.
fn is_schema(kind: &str) -> bool {
    kind == "SCHEMA" || kind == "USER"
}

fn alone(env: &Env<'_>, kind: &str, name: &str) -> Option<Owner> {
    let defs = env.with_txn(|txn| txn.defs());
    let (class, major) = match kind {
        "SCHEMA" => {
            let schemas = env.with_txn(|txn| txn.schemas());
            (OF_SCHEMA, schemas.iter().find(|(_, known)| same_name(known, name))?.0)
        }
        "FILEGROUP" | "PARTITION SCHEME" => {
            let wanted = |known: &&crate::storage::SpaceDef| {
                same_name(&known.name, name) && (kind == "FILEGROUP") == known.scheme.is_none()
            };
            (OF_SPACE, defs.spaces.iter().find(wanted)?.id)
        }
        "PARTITION FUNCTION" => {
            (OF_FUNCTION, defs.functions.iter().find(|known| same_name(&known.name, name))?.id)
        }
        _ => return None,
    };
    Some(Owner { class, major, minor: 0 })
}

fn within(
    env: &Env<'_>,
    schema: &str,
    (kind, name): (&str, &str),
    part: Option<&(String, String)>,
) -> Result<Option<Owner>, Fault> {
    if kind == "TYPE" {
        let types = env.with_txn(|txn| txn.types());
        let found =
            types.iter().find(|ty| same_name(&ty.schema, schema) && same_name(&ty.name, name));
        let owner = found.map(|ty| Owner { class: OF_TYPE, major: ty.id, minor: 0 });
        return Ok(owner.filter(|_| part.is_none()));
    }
    let Some(object) = env.with_txn(|txn| txn.object(schema, name))? else {
        return Ok(None);
    };
    let module = object.module.as_ref().map(|module| module.kind);
    let is_it = match kind {
        "TABLE" => module.is_none(),
        "VIEW" => module == Some(ModuleKind::View),
        "PROCEDURE" => module == Some(ModuleKind::Procedure),
        _ => false,
    };
    if !is_it {
        return Ok(None);
    }
    Ok(match part {
        None => Some(Owner { class: CLASS_OBJECT, major: object.id, minor: 0 }),
        Some((kind, name)) => part_of(&object, kind, name),
    })
}

fn part_of(object: &TableDef, kind: &str, name: &str) -> Option<Owner> {
    let constraint =
        || object.constraints().find(|(_, known, _)| same_name(known, name)).map(|(id, ..)| id);
    match kind {
        "COLUMN" => object.column(name).map(|column| Owner {
            class: CLASS_OBJECT,
            major: object.id,
            minor: column.id,
        }),
        "INDEX" => object
            .indexes
            .iter()
            .find(|index| same_name(&index.name, name))
            .map(|index| Owner { class: CLASS_INDEX, major: object.id, minor: index.id }),
        "CONSTRAINT" => constraint().map(|major| Owner { class: CLASS_OBJECT, major, minor: 0 }),
        _ => None,
    }
}

fn change(
    env: &Env<'_>,
    act: Act,
    property: PropertyDef,
    levels: &[Option<(String, String)>],
) -> Result<(), Fault> {
    env.with_txn(|txn| {
        txn.change_defs(|defs, _| {
            let same =
                |known: &PropertyDef| known.of == property.of && same_name(&known.name, &property.name);
            let known = defs.properties.iter().position(same);
            match (act, known) {
                (Act::Add, None) => defs.properties.push(property),
                (Act::Update, Some(at)) => defs.properties[at].value = property.value,
                (Act::Drop, Some(at)) => drop(defs.properties.remove(at)),
                (Act::Add, Some(_)) => {
                    return Err(SqlError::new(
                        15233,
                        16,
                        1,
                        format!(
                            "Property cannot be added. Property '{}' already exists for '{}'.",
                            property.name,
                            shown(levels)
                        ),
                    ));
                }
                (_, None) => {
                    return Err(SqlError::new(
                        15217,
                        16,
                        2,
                        format!(
                            "Property cannot be updated or deleted. Property '{}' does not exist for '{}'.",
                            property.name,
                            shown(levels)
                        ),
                    ));
                }
            }
            Ok(())
        })
    })?;
    Ok(())
}
