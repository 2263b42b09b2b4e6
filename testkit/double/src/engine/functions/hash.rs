//! HASHBYTES.

use openssl::hash::{MessageDigest, hash};

use super::{Arguments, Bound, Computed, argument_type, call};
use crate::engine::bind::unsupported;
use crate::engine::env::Env;
use crate::engine::expr::Typed;
use crate::sql_type::Family;
use crate::{SqlError, SqlType, Value};

/// Binds it.
///
/// # Errors
/// 174 for another number of arguments, 8116 for what is neither text nor bytes.
pub fn bind(name: &str, arguments: &mut Arguments) -> Bound<Option<Typed>> {
    if name != "HASHBYTES" {
        return Ok(None);
    }
    arguments.arity(2, 2)?;
    let algorithm = arguments.of(&SqlType::VarChar(Some(128)))?.node;
    let input = arguments.any()?;
    if let Some(ty) = &input.ty
        && (!matches!(ty.family(), Family::Text | Family::Binary) || ty.is_old_lob())
    {
        return Err(argument_type(ty, 2, "hashbytes"));
    }
    call(hash_bytes, vec![algorithm, input.node], SqlType::VarBinary(Some(8000)))
}

/// <https://learn.microsoft.com/sql/t-sql/functions/hashbytes-transact-sql>
fn hash_bytes(_: &Env<'_>, arguments: &[Value]) -> Computed {
    let Some(algorithm) = arguments[0].to_text() else {
        return Ok(Value::Null);
    };
    let digest = match algorithm.trim_end().to_ascii_uppercase().as_str() {
        "MD5" => MessageDigest::md5(),
        "SHA" | "SHA1" => MessageDigest::sha1(),
        "SHA2_256" => MessageDigest::sha256(),
        "SHA2_512" => MessageDigest::sha512(),
        "MD2" | "MD4" => return Err(unsupported("HASHBYTES of MD2 or MD4")),
        _ => return Ok(Value::Null),
    };
    let bytes = match &arguments[1] {
        Value::String(text) => text.to_vec(),
        Value::NString(units) => units.iter().flat_map(|unit| unit.to_le_bytes()).collect(),
        Value::Binary(bytes) => bytes.to_vec(),
        _ => return Ok(Value::Null),
    };
    let hashed = hash(digest, &bytes).map_err(|error| {
        SqlError::new(701, 17, 123, format!("The hash could not be computed: {error}."))
    })?;
    Ok(Value::binary(&hashed))
}
