//! Types as a configuration names them.

use super::{MOST_CHARACTERS, MOST_DIGITS, PgType};

impl PgType {
    /// Reads a type's name, as PostgreSQL's documents write it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(in super::super) fn parse(text: &str) -> Result<PgType, String> {
        let lower = text.trim().to_ascii_lowercase();
        let (name, limits) = split(&lower).ok_or_else(|| unknown(text))?;
        let [first, second] = limits;
        let characters = || match first {
            Some(n) if n == 0 || n > MOST_CHARACTERS => {
                Err(format!("{text}: 1 to {MOST_CHARACTERS} characters"))
            }
            n => Ok(n),
        };
        let digits = || match first {
            None => Ok(MOST_DIGITS),
            Some(n) => u8::try_from(n)
                .ok()
                .filter(|n| *n <= MOST_DIGITS)
                .ok_or_else(|| format!("{text}: PostgreSQL has at most {MOST_DIGITS} digits")),
        };
        let most = match name.as_str() {
            "numeric" | "decimal" => 2,
            "varchar"
            | "character varying"
            | "char"
            | "character"
            | "bpchar"
            | "time"
            | "time without time zone"
            | "timestamp"
            | "timestamp without time zone"
            | "timestamptz"
            | "timestamp with time zone"
            | "vector" => 1,
            _ => 0,
        };
        if limits.iter().flatten().count() > most {
            return Err(unknown(text));
        }
        Ok(match name.as_str() {
            "boolean" | "bool" => PgType::Bool,
            "smallint" | "int2" => PgType::Int2,
            "integer" | "int" | "int4" => PgType::Int4,
            "bigint" | "int8" => PgType::Int8,
            "real" | "float4" => PgType::Float4,
            "double precision" | "float8" => PgType::Float8,
            "numeric" | "decimal" => PgType::Numeric(match first {
                None => None,
                Some(p) => {
                    let limit = |n: u32| u16::try_from(n).ok().filter(|n| *n <= 1000);
                    let limits = limit(p).zip(limit(second.unwrap_or(0)));
                    Some(limits.filter(|(p, s)| *p > 0 && s <= p).ok_or_else(|| unknown(text))?)
                }
            }),
            "text" => PgType::Text,
            "varchar" | "character varying" => PgType::Varchar(characters()?),
            "char" | "character" => PgType::Char(characters()?.unwrap_or(1)),
            "bpchar" => PgType::Char(characters()?.ok_or_else(|| unknown(text))?),
            "bytea" => PgType::Bytea,
            "uuid" => PgType::Uuid,
            "date" => PgType::Date,
            "time" | "time without time zone" => PgType::Time(digits()?),
            "timestamp" | "timestamp without time zone" => PgType::Timestamp(digits()?),
            "timestamptz" | "timestamp with time zone" => PgType::TimestampTz(digits()?),
            "xml" => PgType::Xml,
            "json" => PgType::Json,
            "jsonb" => PgType::Jsonb,
            "real[]" | "float4[]" => PgType::Reals,
            "citext" => PgType::Citext,
            "geometry" => PgType::Geometry,
            "geography" => PgType::Geography,
            "vector" => PgType::Vector(match first {
                None => None,
                Some(n) => {
                    Some(u16::try_from(n).ok().filter(|n| *n > 0).ok_or_else(|| unknown(text))?)
                }
            }),
            _ => return Err(unknown(text)),
        })
    }
}

fn unknown(text: &str) -> String {
    format!("{text} is no type of PostgreSQL that Lockstep writes")
}

/// Name and limits: `timestamp(3) with time zone` is `timestamp with time zone` with 3.
fn split(text: &str) -> Option<(String, [Option<u32>; 2])> {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let Some((name, rest)) = text.split_once('(') else { return Some((words(text), [None; 2])) };
    let (limits, behind) = rest.split_once(')')?;
    let mut numbers = limits.split(',').map(|n| n.trim().parse::<u32>().ok());
    let first = numbers.next()??;
    let second = match numbers.next() {
        None => None,
        Some(number) => Some(number?),
    };
    numbers.next().is_none().then_some(())?;
    Some((words(&format!("{name} {behind}")), [Some(first), second]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_postgresql_reads_them() {
        let cases = [
            ("text", PgType::Text),
            (" VARCHAR ( 40 ) ", PgType::Varchar(Some(40))),
            ("character varying", PgType::Varchar(None)),
            ("char", PgType::Char(1)),
            ("numeric(38, 4)", PgType::Numeric(Some((38, 4)))),
            ("numeric(38)", PgType::Numeric(Some((38, 0)))),
            ("decimal", PgType::Numeric(None)),
            ("timestamp(3) with time zone", PgType::TimestampTz(3)),
            ("timestamp", PgType::Timestamp(6)),
            ("double precision", PgType::Float8),
            ("real[]", PgType::Reals),
            ("vector(3)", PgType::Vector(Some(3))),
            ("citext", PgType::Citext),
        ];
        for (text, ty) in cases {
            assert_eq!(PgType::parse(text), Ok(ty), "{text}");
            // What is printed is read back.
            assert_eq!(PgType::parse(&ty.to_string()), Ok(ty), "{ty}");
        }
        for text in [
            "",
            "citexxt",
            "text(3)",
            "numeric(0)",
            "numeric(3,4)",
            "numeric(1,2,3)",
            "varchar(0)",
            "timestamp(7)",
            "vector(0)",
            "varchar(",
            "varchar(x)",
            "geometry(point,4326)",
        ] {
            assert!(PgType::parse(text).is_err(), "{text}");
        }
    }
}
