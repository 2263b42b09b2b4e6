//! CREATE, ALTER and DROP SEQUENCE.
//! <https://learn.microsoft.com/sql/t-sql/statements/create-sequence-transact-sql>

use super::{cannot_drop, may_define};
use crate::engine::bind::unsupported;
use crate::engine::env::Env;
use crate::engine::fault::Fault;
use crate::engine::syntax::ast::{ObjectName, SequenceOptions};
use crate::engine::syntax::normal::bracketed;
use crate::storage::{ModuleDef, ModuleKind, SequenceDef, TableDef};
use crate::{SqlError, SqlType};

/// What a type can hold.
fn bounds(ty: &SqlType, name: &str) -> Result<(i64, i64), Fault> {
    Ok(match ty {
        SqlType::TinyInt => (0, 255),
        SqlType::SmallInt => (i64::from(i16::MIN), i64::from(i16::MAX)),
        SqlType::Int => (i64::from(i32::MIN), i64::from(i32::MAX)),
        SqlType::BigInt => (i64::MIN, i64::MAX),
        SqlType::Decimal { precision, scale: 0 } | SqlType::Numeric { precision, scale: 0 } => {
            if *precision > 18 {
                return Err(Fault::Compile(unsupported("a sequence of more than 18 digits")));
            }
            let most = 10_i64.pow(u32::from(*precision)) - 1;
            (-most, most)
        }
        _ => {
            return Err(SqlError::new(
                11_702,
                16,
                2,
                format!("The sequence object '{name}' must be of data type int, bigint, smallint, tinyint, or decimal or numeric with a scale of 0, or any user-defined data type that is based on one of the above integer data types."),
            )
            .into());
        }
    })
}

fn refused(number: i32, text: String) -> Fault {
    SqlError::new(number, 16, 1, text).into()
}

/// What the options make of a sequence.
fn defined(
    name: &str,
    options: &SequenceOptions,
    before: Option<&SequenceDef>,
) -> Result<SequenceDef, Fault> {
    let ty = before
        .map_or_else(|| options.ty.clone().unwrap_or(SqlType::BigInt), |before| before.ty.clone());
    let (lowest, highest) = bounds(&ty, name)?;
    let increment =
        options.increment.or_else(|| before.map(|before| before.increment)).unwrap_or(1);
    let of = |given: Option<Option<i64>>, known: Option<i64>, limit: i64| match given {
        Some(value) => value.unwrap_or(limit),
        None => known.unwrap_or(limit),
    };
    let least = of(options.least, before.map(|before| before.least), lowest);
    let most = of(options.most, before.map(|before| before.most), highest);
    if increment == 0 {
        let text = format!("The increment for sequence object '{name}' cannot be zero.");
        return Err(refused(11_700, text));
    }
    if least >= most || least < lowest || most > highest {
        return Err(refused(
            11_705,
            format!(
                "The minimum value for sequence object '{name}' must be less than its maximum value."
            ),
        ));
    }
    let first = if increment > 0 { least } else { most };
    let start = before.map_or_else(|| options.start.unwrap_or(first), |before| before.start);
    let restart = match options.restart {
        Some(value) => Some(value.unwrap_or(start)),
        None => before.and_then(|before| before.restart),
    };
    if !(least..=most).contains(&restart.unwrap_or(start)) {
        return Err(refused(
            11_703,
            format!(
                "The start value for sequence object '{name}' must be between the minimum and maximum value of the sequence object."
            ),
        ));
    }
    Ok(SequenceDef {
        ty,
        start,
        increment,
        least,
        most,
        cycle: options.cycle.or_else(|| before.map(|before| before.cycle)).unwrap_or(false),
        cache: options.cache.or_else(|| before.map(|before| before.cache)).unwrap_or(Some(0)),
        restart,
    })
}

fn module(sequence: SequenceDef) -> ModuleDef {
    ModuleDef {
        kind: ModuleKind::Sequence,
        definition: String::new(),
        check_option: false,
        parameters: Vec::new(),
        schema_bound: false,
        policy: None,
        ansi_nulls_off: false,
        quoted_off: false,
        sequence: Some(sequence),
    }
}

/// CREATE SEQUENCE.
pub fn create(env: &Env<'_>, name: &ObjectName, options: &SequenceOptions) -> Result<(), Fault> {
    if name.database.is_some() {
        return Err(Fault::Compile(unsupported("a definition in another database")));
    }
    may_define(env, "CREATE SEQUENCE")?;
    let sequence = defined(&name.name, options, None)?;
    let schema = name.schema.as_deref().unwrap_or("dbo");
    let object = TableDef {
        module: Some(module(sequence)),
        ..TableDef::new(schema, &name.name, Vec::new())
    };
    env.with_txn(|txn| txn.create_table(object))?;
    Ok(())
}

/// ALTER SEQUENCE.
pub fn alter(env: &Env<'_>, name: &ObjectName, options: &SequenceOptions) -> Result<(), Fault> {
    let schema = name.schema.as_deref().unwrap_or("dbo");
    let found = env.with_txn(|txn| txn.object(schema, &name.name))?;
    let known = found.filter(|_| name.database.is_none() && env.status.rights.may_define());
    let Some((object, before)) = known.as_ref().and_then(|o| Some((o, o.sequence()?))) else {
        return Err(refused(
            15_151,
            format!(
                "Cannot alter the sequence object '{name}', because it does not exist or you do not have permission."
            ),
        ));
    };
    let sequence = defined(&name.name, options, Some(before))?;
    let altered = TableDef { module: Some(module(sequence)), ..TableDef::clone(object) };
    let id = object.id;
    env.with_txn(|txn| txn.redefine(altered, "", None))?;
    if options.restart.is_some() {
        env.with_txn(|txn| txn.restart_sequence(id))?;
    }
    Ok(())
}

/// Error 3729 where a default takes its values.
pub fn check_unused(env: &Env<'_>, sequence: &TableDef, name: &ObjectName) -> Result<(), Fault> {
    let text =
        format!("NEXT VALUE FOR {}.{}", bracketed(&sequence.schema), bracketed(&sequence.name));
    let text = text.to_lowercase();
    if sequence.sequence().is_none() {
        return Err(cannot_drop("sequence", &name.to_string()).into());
    }
    for table in env.with_txn(|txn| txn.tables()) {
        let mut defaults = table.columns.iter().filter_map(|column| column.default.as_ref());
        if let Some(user) = defaults.find(|own| own.definition.to_lowercase().contains(&text)) {
            return Err(SqlError::new(
                3729,
                16,
                1,
                format!(
                    "Cannot DROP SEQUENCE '{name}' because it is being referenced by object '{}'.",
                    user.name
                ),
            )
            .into());
        }
    }
    Ok(())
}
