//! Names of types with their facets.

use super::ast::ObjectName;
use super::lexer::TokenKind;
use super::parser::{Parsed, Parser};
use crate::engine::vector::MAX_DIMENSIONS;
use crate::{SqlError, SqlType};

impl Parser<'_> {
    /// A type in CAST or CONVERT, where a length left out means 30.
    pub fn cast_type(&mut self) -> Parsed<SqlType> {
        Ok(self.data_type(30)?.0)
    }

    /// A type of a column or variable, where a length left out means 1; also the name written
    /// if that is an alias.
    pub fn declared_type(&mut self) -> Parsed<(SqlType, Option<String>)> {
        self.data_type(1)
    }

    /// The same where an alias type may stand: its name, which only the database knows.
    pub fn aliased_type(&mut self) -> Parsed<(SqlType, Option<ObjectName>)> {
        let mark = self.mark();
        match self.data_type(1) {
            Ok((ty, alias)) => {
                let name = alias.filter(|name| name == "sysname");
                Ok((ty, name.map(|name| ObjectName { database: None, schema: None, name })))
            }
            Err(error) if error.number == 2715 => {
                self.reset(mark);
                let name = self.object_name()?;
                match name.database.is_some() || self.is("(") {
                    true => Err(error),
                    false => Ok((SqlType::Int, Some(name))),
                }
            }
            Err(error) => Err(error),
        }
    }

    fn data_type(&mut self, default_length: u16) -> Parsed<(SqlType, Option<String>)> {
        let line = self.token().line;
        let mut name = match self.next() {
            TokenKind::Word(name) | TokenKind::Quoted(name) => name.to_ascii_lowercase(),
            _ => {
                self.reset(self.mark() - 1);
                return Err(self.unexpected());
            }
        };
        if name == "sys" && self.accept(".") {
            name = self.identifier()?.to_ascii_lowercase();
        }
        let ty = match name.as_str() {
            "bit" => SqlType::Bit,
            "tinyint" => SqlType::TinyInt,
            "smallint" => SqlType::SmallInt,
            "int" | "integer" => SqlType::Int,
            "bigint" => SqlType::BigInt,
            "money" => SqlType::Money,
            "smallmoney" => SqlType::SmallMoney,
            "real" => SqlType::Real,
            "date" => SqlType::Date,
            "smalldatetime" => SqlType::SmallDateTime,
            "datetime" => SqlType::DateTime,
            "uniqueidentifier" => SqlType::UniqueIdentifier,
            "sysname" => return Ok((SqlType::NVarChar(Some(128)), Some(name))),
            "decimal" | "dec" => self.decimal()?,
            "numeric" => match self.decimal()? {
                SqlType::Decimal { precision, scale } => SqlType::Numeric { precision, scale },
                other => other,
            },
            "rowversion" | "timestamp" => SqlType::RowVersion,
            "text" => SqlType::Text,
            "ntext" => SqlType::NText,
            "image" => SqlType::Image,
            "xml" if self.is("(") => return Err(self.unsupported("xml schema collection")),
            "xml" => SqlType::Xml,
            "sql_variant" => SqlType::Variant,
            "float" => match self.facet()? {
                Some(1..=24) => SqlType::Real,
                None | Some(25..=53) => SqlType::Float,
                Some(_) => return Err(self.unexpected()),
            },
            "double" => {
                self.expect_word("PRECISION")?;
                SqlType::Float
            }
            "time" => SqlType::Time(self.fraction()?),
            "datetime2" => SqlType::DateTime2(self.fraction()?),
            "datetimeoffset" => SqlType::DateTimeOffset(self.fraction()?),
            "char" | "character" if self.accept_word("VARYING") => {
                SqlType::VarChar(self.length(8000, default_length)?)
            }
            "char" | "character" => SqlType::Char(self.fixed_length(8000, default_length)?),
            "varchar" => SqlType::VarChar(self.length(8000, default_length)?),
            "nchar" => SqlType::NChar(self.fixed_length(4000, default_length)?),
            "nvarchar" => SqlType::NVarChar(self.length(4000, default_length)?),
            "binary" => SqlType::Binary(self.fixed_length(8000, default_length)?),
            "varbinary" => SqlType::VarBinary(self.length(8000, default_length)?),
            "hierarchyid" => SqlType::HierarchyId,
            "geometry" => SqlType::Geometry,
            "geography" => SqlType::Geography,
            "json" => SqlType::Json,
            "vector" => {
                self.expect("(")?;
                let dimensions = self.integer()?;
                if self.accept(",") {
                    return Err(self.unsupported("base type of a vector"));
                }
                self.expect(")")?;
                match u16::try_from(dimensions) {
                    Ok(n @ 1..=MAX_DIMENSIONS) => SqlType::Vector(n),
                    _ => {
                        let mut error = SqlError::new(
                            42205,
                            16,
                            1,
                            format!(
                                "The size ({dimensions}) given to the type 'vector' exceeds the maximum allowed ({MAX_DIMENSIONS})."
                            ),
                        );
                        error.line = line;
                        return Err(error);
                    }
                }
            }
            "table" | "cursor" => return Err(self.unsupported(&name)),
            _ => {
                let mut error =
                    SqlError::new(2715, 16, 6, format!("Cannot find data type {name}."));
                error.line = line;
                return Err(error);
            }
        };
        Ok((ty, None))
    }

    fn facet(&mut self) -> Parsed<Option<i64>> {
        if !self.accept("(") {
            return Ok(None);
        }
        let value = self.integer()?;
        self.expect(")")?;
        Ok(Some(value))
    }

    fn decimal(&mut self) -> Parsed<SqlType> {
        let (mut precision, mut scale) = (18, 0);
        if self.accept("(") {
            precision = self.integer()?;
            if self.accept(",") {
                scale = self.integer()?;
            }
            self.expect(")")?;
        }
        if !(1..=38).contains(&precision) || !(0..=precision).contains(&scale) {
            let mut error = SqlError::new(
                1002,
                15,
                1,
                format!("Line {}: Specified scale {scale} is invalid.", self.token().line),
            );
            error.line = self.token().line;
            return Err(error);
        }
        Ok(SqlType::Decimal {
            precision: u8::try_from(precision).map_err(|_| self.unexpected())?,
            scale: u8::try_from(scale).map_err(|_| self.unexpected())?,
        })
    }

    fn fraction(&mut self) -> Parsed<u8> {
        match self.facet()? {
            None => Ok(7),
            Some(scale @ 0..=7) => u8::try_from(scale).map_err(|_| self.unexpected()),
            Some(_) => Err(self.unexpected()),
        }
    }

    fn length(&mut self, limit: i64, default: u16) -> Parsed<Option<u16>> {
        if !self.accept("(") {
            return Ok(Some(default));
        }
        let length = match self.accept_word("MAX") {
            true => None,
            false => Some(self.checked_length(limit)?),
        };
        self.expect(")")?;
        Ok(length)
    }

    fn fixed_length(&mut self, limit: i64, default: u16) -> Parsed<u16> {
        if !self.accept("(") {
            return Ok(default);
        }
        let length = self.checked_length(limit)?;
        self.expect(")")?;
        Ok(length)
    }

    fn checked_length(&mut self, limit: i64) -> Parsed<u16> {
        let length = self.integer()?;
        if !(1..=limit).contains(&length) {
            let mut error = SqlError::new(
                131,
                15,
                2,
                format!(
                    "The size ({length}) given to the type exceeds the maximum allowed ({limit})."
                ),
            );
            error.line = self.token().line;
            return Err(error);
        }
        u16::try_from(length).map_err(|_| self.unexpected())
    }
}
