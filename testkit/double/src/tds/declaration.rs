//! The parameter list of `sp_executesql` and its kin: `@P1 int, @P2 nvarchar(4000) OUTPUT`.

use crate::{SqlError, SqlType};

/// A declared parameter.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Declared {
    pub name: String,
    pub ty: SqlType,
    pub output: bool,
}

/// Parses a parameter list; an empty one declares nothing.
pub(super) fn parse(list: &str) -> Result<Vec<Declared>, SqlError> {
    split(list).into_iter().map(parse_one).collect()
}

/// Splits at the commas outside parentheses.
fn split(list: &str) -> Vec<&str> {
    let mut depth = 0i32;
    let parts = list.split(|c| {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    });
    parts.map(str::trim).filter(|part| !part.is_empty()).collect()
}

fn syntax_error(near: &str) -> SqlError {
    SqlError::new(102, 15, 1, format!("Incorrect syntax near '{near}'."))
}

fn parse_one(part: &str) -> Result<Declared, SqlError> {
    let (name, rest) = part
        .split_once(char::is_whitespace)
        .filter(|(name, _)| name.len() > 1 && name.starts_with('@'))
        .ok_or_else(|| syntax_error(part))?;
    let rest = rest.trim();
    let rest = strip_word_before(rest, "as");
    let (rest, output) = match strip_word_after(rest, "output").or(strip_word_after(rest, "out")) {
        Some(rest) => (rest, true),
        None => (rest, false),
    };
    Ok(Declared { name: name.to_owned(), ty: parse_type(rest)?, output })
}

fn strip_word_before<'a>(text: &'a str, word: &str) -> &'a str {
    match text.split_once(char::is_whitespace) {
        Some((first, rest)) if first.eq_ignore_ascii_case(word) => rest.trim_start(),
        _ => text,
    }
}

fn strip_word_after<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let (rest, last) = text.rsplit_once(|c: char| c.is_whitespace() || c == ')')?;
    let closing = text[rest.len()..].starts_with(')');
    last.eq_ignore_ascii_case(word).then(|| text[..rest.len() + usize::from(closing)].trim_end())
}

/// Facets in a type's parentheses.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Facets {
    None,
    Max,
    One(u16),
    Two(u16, u16),
}

fn parse_type(text: &str) -> Result<SqlType, SqlError> {
    let (name, facets) = match text.split_once('(') {
        None => (text, Facets::None),
        Some((name, rest)) => {
            let inside = rest.trim_end().strip_suffix(')').ok_or_else(|| syntax_error(text))?;
            (name, parse_facets(inside).ok_or_else(|| syntax_error(text))?)
        }
    };
    let name: Vec<&str> = name.split_whitespace().collect();
    let name = name.join(" ").to_ascii_lowercase();
    let bare = name.trim_start_matches("sys.").trim_matches(['[', ']']);
    named_type(bare, facets).unwrap_or_else(|| {
        let text = format!("Column, parameter, or variable #1: Cannot find data type {bare}.");
        Err(SqlError::new(2715, 16, 3, text))
    })
}

fn parse_facets(text: &str) -> Option<Facets> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("max") {
        return Some(Facets::Max);
    }
    Some(match text.split_once(',') {
        None => Facets::One(text.parse().ok()?),
        Some((a, b)) => Facets::Two(a.trim().parse().ok()?, b.trim().parse().ok()?),
    })
}

/// `None` for a name that is no type; the inner error for facets it cannot have.
fn named_type(name: &str, facets: Facets) -> Option<Result<SqlType, SqlError>> {
    let plain = |ty: SqlType| match facets {
        Facets::None => Ok(ty),
        _ => Err(SqlError::new(
            2716,
            16,
            1,
            format!(
                "Column, parameter, or variable #1: Cannot specify a column width on data type {name}."
            ),
        )),
    };
    let fixed = |limit: u16, ty: fn(u16) -> SqlType| {
        length(name, facets, limit)?.map(ty).ok_or_else(|| invalid_length("max", limit))
    };
    let variable = |limit: u16, ty: fn(Option<u16>) -> SqlType| length(name, facets, limit).map(ty);
    let scaled = |ty: fn(u8) -> SqlType| match facets {
        Facets::None => Ok(ty(7)),
        Facets::One(scale @ 0..=7) => Ok(ty(scale.to_le_bytes()[0])),
        _ => Err(SqlError::new(1002, 15, 1, "Line 1: Specified scale is invalid.")),
    };
    Some(match name {
        "bit" => plain(SqlType::Bit),
        "tinyint" => plain(SqlType::TinyInt),
        "smallint" => plain(SqlType::SmallInt),
        "int" | "integer" => plain(SqlType::Int),
        "bigint" => plain(SqlType::BigInt),
        "money" => plain(SqlType::Money),
        "smallmoney" => plain(SqlType::SmallMoney),
        "real" => plain(SqlType::Real),
        "float" | "double precision" => float(facets),
        "decimal" | "numeric" | "dec" => decimal(facets),
        "date" => plain(SqlType::Date),
        "smalldatetime" => plain(SqlType::SmallDateTime),
        "datetime" => plain(SqlType::DateTime),
        "time" => scaled(SqlType::Time),
        "datetime2" => scaled(SqlType::DateTime2),
        "datetimeoffset" => scaled(SqlType::DateTimeOffset),
        "uniqueidentifier" => plain(SqlType::UniqueIdentifier),
        "char" | "character" => fixed(8000, SqlType::Char),
        "nchar" | "national char" | "national character" => fixed(4000, SqlType::NChar),
        "binary" => fixed(8000, SqlType::Binary),
        "varchar" | "char varying" | "character varying" => variable(8000, SqlType::VarChar),
        "nvarchar" | "national char varying" | "national character varying" => {
            variable(4000, SqlType::NVarChar)
        }
        "varbinary" | "binary varying" => variable(8000, SqlType::VarBinary),
        "sysname" => plain(SqlType::NVarChar(Some(128))),
        "rowversion" | "timestamp" => plain(SqlType::Binary(8)),
        "text" => plain(SqlType::VarChar(None)),
        "ntext" | "xml" => plain(SqlType::NVarChar(None)),
        "image" => plain(SqlType::VarBinary(None)),
        _ => return None,
    })
}

fn invalid_length(given: &str, limit: u16) -> SqlError {
    let text =
        format!("The size ({given}) given to the parameter exceeds the maximum allowed ({limit}).");
    SqlError::new(131, 15, 3, text)
}

/// The length of a string type, 1 where none is given; `None` is MAX.
fn length(name: &str, facets: Facets, limit: u16) -> Result<Option<u16>, SqlError> {
    match facets {
        Facets::None => Ok(Some(1)),
        Facets::Max => Ok(None),
        Facets::One(0) => {
            let text = "Length or precision specification 0 is invalid.";
            Err(SqlError::new(1001, 15, 1, format!("Line 1: {text}")))
        }
        Facets::One(length) if length <= limit => Ok(Some(length)),
        Facets::One(length) => Err(invalid_length(&length.to_string(), limit)),
        Facets::Two(..) => Err(syntax_error(name)),
    }
}

fn float(facets: Facets) -> Result<SqlType, SqlError> {
    match facets {
        Facets::None | Facets::One(25..=53) => Ok(SqlType::Float),
        Facets::One(1..=24) => Ok(SqlType::Real),
        _ => Err(SqlError::new(
            2750,
            16,
            1,
            "Column or parameter #1: Specified column precision is greater than the maximum precision of 53.",
        )),
    }
}

fn decimal(facets: Facets) -> Result<SqlType, SqlError> {
    let (precision, scale) = match facets {
        Facets::None => (18, 0),
        Facets::One(precision) => (precision, 0),
        Facets::Two(precision, scale) => (precision, scale),
        Facets::Max => return Err(syntax_error("max")),
    };
    match (u8::try_from(precision), u8::try_from(scale)) {
        (Ok(precision @ 1..=38), Ok(scale)) if scale <= precision => {
            Ok(SqlType::Decimal { precision, scale })
        }
        _ => {
            let text = format!(
                "Column or parameter #1: Specified column precision {precision} is greater than the maximum precision of 38."
            );
            Err(SqlError::new(2750, 16, 1, text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(list: &str) -> Declared {
        let mut parsed = parse(list).expect("parses");
        assert_eq!(parsed.len(), 1, "{list}");
        parsed.remove(0)
    }

    #[test]
    fn every_form_of_a_declaration_is_understood() {
        let cases = [
            ("@P1 int", SqlType::Int, false),
            ("@p  DECIMAL( 38 , 10 )", SqlType::Decimal { precision: 38, scale: 10 }, false),
            ("@p AS numeric", SqlType::Decimal { precision: 18, scale: 0 }, false),
            ("@p nvarchar(MAX) OUTPUT", SqlType::NVarChar(None), true),
            ("@p nvarchar(max)output", SqlType::NVarChar(None), true),
            ("@p varchar", SqlType::VarChar(Some(1)), false),
            ("@p float(24) out", SqlType::Real, true),
            ("@p national  character varying(7)", SqlType::NVarChar(Some(7)), false),
            ("@p datetime2", SqlType::DateTime2(7), false),
            ("@p time(0)", SqlType::Time(0), false),
            ("@p sysname", SqlType::NVarChar(Some(128)), false),
            ("@p [int]", SqlType::Int, false),
        ];
        for (list, ty, output) in cases {
            let declared = one(list);
            assert_eq!((declared.ty, declared.output), (ty, output), "{list}");
        }
    }

    #[test]
    fn lists_split_outside_parentheses_only() {
        let parsed = parse("@a decimal(9,2),@b int , @c varchar(3)").expect("parses");
        let names: Vec<&str> = parsed.iter().map(|d| d.name.as_str()).collect();
        assert_eq!(names, ["@a", "@b", "@c"]);
        assert_eq!(parse("").expect("parses"), []);
    }

    #[test]
    fn what_is_no_declaration_is_refused_with_the_servers_number() {
        for (list, number) in [
            ("P1 int", 102),
            ("@p", 102),
            ("@p geography", 2715),
            ("@p int(4)", 2716),
            ("@p varchar(8001)", 131),
            ("@p char(max)", 131),
            ("@p varchar(0)", 1001),
            ("@p decimal(39)", 2750),
            ("@p time(8)", 1002),
            ("@p varchar(3", 102),
        ] {
            assert_eq!(parse(list).expect_err(list).number, number, "{list}");
        }
    }
}
