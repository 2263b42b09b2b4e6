//! Errors 2601 and 2627, with the key as SQL Server shows it.

use super::{IndexId, IndexKind, Row, TableDef};
use crate::{SqlError, Value};

/// The error for a row whose key in an index is taken.
pub(super) fn duplicate_key(
    table: &TableDef,
    index: IndexId,
    positions: &[usize],
    row: &Row,
) -> SqlError {
    let values: Vec<String> = positions.iter().map(|at| key_text(&row[*at])).collect();
    let values = values.join(", ");
    let object = table.full_name();
    let Some(def) = table.index(index) else {
        return SqlError::new(
            2601,
            14,
            1,
            format!("Cannot insert duplicate key row in object '{object}'."),
        );
    };
    let name = &def.name;
    match def.kind {
        IndexKind::Index => SqlError::new(
            2601,
            14,
            1,
            format!(
                "Cannot insert duplicate key row in object '{object}' with unique index '{name}'. The duplicate key value is ({values})."
            ),
        ),
        kind => {
            let what = if kind == IndexKind::PrimaryKey { "PRIMARY KEY" } else { "UNIQUE KEY" };
            SqlError::new(
                2627,
                14,
                1,
                format!(
                    "Violation of {what} constraint '{name}'. Cannot insert duplicate key in object '{object}'. The duplicate key value is ({values})."
                ),
            )
        }
    }
}

/// A key value as error messages show it.
fn key_text(value: &Value) -> String {
    match value {
        Value::Null => "<NULL>".to_owned(),
        Value::Bit(v) => u8::from(*v).to_string(),
        Value::Binary(bytes) => {
            bytes.iter().fold("0x".to_owned(), |text, byte| text + &format!("{byte:02x}"))
        }
        Value::Guid(b) => format!(
            "{:02x}{:02x}{:02x}{:02x}-{:02x}{:02x}-{:02x}{:02x}-{:02x}{:02x}-{:02x}{:02x}{:02x}{:02x}{:02x}{:02x}",
            b[3],
            b[2],
            b[1],
            b[0],
            b[5],
            b[4],
            b[7],
            b[6],
            b[8],
            b[9],
            b[10],
            b[11],
            b[12],
            b[13],
            b[14],
            b[15]
        ),
        Value::Decimal { unscaled, scale: 0 } => unscaled.to_string(),
        Value::Decimal { unscaled, scale } => {
            let digits =
                format!("{:0>width$}", unscaled.unsigned_abs(), width = usize::from(*scale) + 1);
            let (whole, fraction) = digits.split_at(digits.len() - usize::from(*scale));
            format!("{}{whole}.{fraction}", if *unscaled < 0 { "-" } else { "" })
        }
        other => match (other.as_i64(), other.to_text()) {
            (Some(number), _) => number.to_string(),
            (_, Some(text)) => text,
            _ => format!("{other:?}"),
        },
    }
}
