//! Conversions to and from `hierarchyid`, `geometry` and `geography`.

use super::{Converted, fit_binary, fit_text, not_allowed, to_text};
use crate::engine::hierarchy;
use crate::engine::spatial::{self, Spatial};
use crate::{SqlError, SqlType, Value};

/// SRID of a `geography` that is given none.
const WGS_84: i32 = 4326;

/// Error 6522: what the type's own code complains of.
pub fn failed(ty: &SqlType, what: &str) -> SqlError {
    let class = match ty {
        SqlType::HierarchyId => "Microsoft.SqlServer.Types.HierarchyIdException",
        _ => "System.FormatException",
    };
    SqlError::new(
        6522,
        16,
        1,
        format!(
            "A .NET Framework error occurred during execution of user-defined routine or aggregate \"{}\": {class}: {what}",
            ty.name()
        ),
    )
}

/// A text in the type's own form, or bytes of its serialization, as a value of the type.
pub fn to_clr(value: &Value, from: &SqlType, to: &SqlType) -> Converted {
    let text = match value {
        Value::Binary(bytes) => {
            let known = match to {
                SqlType::HierarchyId => hierarchy::decode(bytes).is_some(),
                _ => spatial::deserialize(bytes).is_some(),
            };
            return match known {
                true => Ok(value.clone()),
                false => Err(failed(to, "24210: The value is not a serialized instance.")),
            };
        }
        other => other.to_text().ok_or_else(|| not_allowed(from, to))?,
    };
    if *to == SqlType::HierarchyId {
        let bytes = hierarchy::parse(&text).and_then(|path| hierarchy::encode(&path));
        return bytes.map(|bytes| Value::binary(&bytes)).ok_or_else(|| {
            failed(
                to,
                &format!(
                    "24001: SqlHierarchyId.Parse failed because the input string '{text}' is not a valid string representation of a SqlHierarchyId node."
                ),
            )
        });
    }
    let srid = if *to == SqlType::Geography { WGS_84 } else { 0 };
    Ok(Value::binary(&spatial::serialize(&spatial_of_text(&text, srid, to)?)))
}

/// Well-known text as a value.
pub fn spatial_of_text(text: &str, srid: i32, ty: &SqlType) -> Result<Spatial, SqlError> {
    let geography = *ty == SqlType::Geography;
    if geography {
        check_srid(i64::from(srid))?;
    }
    spatial::parse(text, srid, geography).map_err(|what| failed(ty, &what))
}

/// A `geography` stands in one of the systems of `sys.spatial_reference_systems`.
pub fn check_srid(srid: i64) -> Result<(), SqlError> {
    match srid {
        4120..=4999 => Ok(()),
        _ => Err(failed(
            &SqlType::Geography,
            "24204: The spatial reference identifier (SRID) is not valid. The specified SRID must match one of the supported SRIDs displayed in the sys.spatial_reference_systems catalog view.",
        )),
    }
}

/// A value of one of these types as text, as its ToString shows it.
pub fn to_characters(value: &Value, from: &SqlType, to: &SqlType) -> Converted {
    let Value::Binary(bytes) = value else {
        return Err(not_allowed(from, to));
    };
    let text = match from {
        SqlType::HierarchyId => hierarchy::decode(bytes).map(|path| hierarchy::format(&path)),
        _ => spatial::deserialize(bytes)
            .and_then(|value| spatial::format(&value, *from == SqlType::Geography, true)),
    };
    let units: Vec<u16> = text.ok_or_else(|| not_allowed(from, to))?.encode_utf16().collect();
    if to_text::limit_of(to).is_some_and(|limit| units.len() > limit) {
        return Err(SqlError::new(8152, 16, 10, "String or binary data would be truncated."));
    }
    Ok(fit_text(&units, to))
}

/// A value of one of these types as bytes, which must all fit.
pub fn to_bytes(value: &Value, from: &SqlType, to: &SqlType) -> Converted {
    let Value::Binary(bytes) = value else {
        return Err(not_allowed(from, to));
    };
    match to {
        SqlType::Binary(n) | SqlType::VarBinary(Some(n)) if bytes.len() > usize::from(*n) => {
            Err(SqlError::new(8152, 16, 10, "String or binary data would be truncated."))
        }
        _ => Ok(fit_binary(bytes, to)),
    }
}
