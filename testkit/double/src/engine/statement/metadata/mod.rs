//! The catalogue procedures that ODBC and JDBC drivers call: `sp_tables`, `sp_columns` and their
//! kin.
//!
//! Each is a query over the catalogue views, as it is in SQL Server, so that it shows what its
//! caller may know of. The texts beside this file give columns, types and order as Microsoft
//! documents them; codes of types are those of ODBC.

mod describe;
mod text;

use super::procedure::Called;
use crate::engine::batch::{Executor, natural_type};
use crate::engine::bind::same_name;
use crate::engine::convert;
use crate::engine::fault::Fault;
use crate::{Param, SqlError, SqlType, Value};

/// A parameter: name, type, default; it is required if there is none.
type Parameter = (&'static str, SqlType, Option<Value>);

/// A catalogue procedure.
struct Procedure {
    name: &'static str,
    parameters: Vec<Parameter>,
    text: String,
}

/// The types as ODBC knows them, with the columns of `sys.columns`.
const TYPES: &str = include_str!("types.sql");

fn sysname() -> SqlType {
    SqlType::NVarChar(Some(128))
}

/// A name that may hold a pattern.
fn pattern(name: &'static str) -> Parameter {
    (name, SqlType::NVarChar(Some(384)), Some(Value::Null))
}

fn optional(name: &'static str) -> Parameter {
    (name, sysname(), Some(Value::Null))
}

fn letter(name: &'static str, default: &str) -> Parameter {
    (name, SqlType::Char(1), Some(Value::String(default.as_bytes().into())))
}

fn number(name: &'static str, ty: SqlType, default: i32) -> Parameter {
    let value = match ty {
        SqlType::Bit => Value::Bit(default != 0),
        SqlType::TinyInt => Value::TinyInt(u8::try_from(default).unwrap_or_default()),
        _ => Value::Int(default),
    };
    (name, ty, Some(value))
}

fn find(name: &str) -> Option<Procedure> {
    let table = || ("@table_name", sysname(), None);
    let rest_of_table = || [optional("@table_owner"), optional("@table_qualifier")];
    let use_pattern = || number("@fUsePattern", SqlType::Bit, 1);
    let version = || number("@ODBCVer", SqlType::Int, 2);
    let (name, parameters, text): (_, Vec<Parameter>, String) = match name {
        "sp_tables" => (
            "sp_tables",
            vec![
                pattern("@table_name"),
                pattern("@table_owner"),
                optional("@table_qualifier"),
                ("@table_type", SqlType::VarChar(Some(100)), Some(Value::Null)),
                use_pattern(),
            ],
            include_str!("tables.sql").to_owned(),
        ),
        "sp_columns" => (
            "sp_columns",
            vec![
                ("@table_name", SqlType::NVarChar(Some(384)), None),
                pattern("@table_owner"),
                optional("@table_qualifier"),
                pattern("@column_name"),
                version(),
            ],
            columns_text(false),
        ),
        "sp_columns_90" | "sp_columns_100" => (
            "sp_columns_100",
            vec![
                ("@table_name", SqlType::NVarChar(Some(384)), None),
                pattern("@table_owner"),
                optional("@table_qualifier"),
                pattern("@column_name"),
                number("@NameScope", SqlType::Int, 0),
                version(),
                use_pattern(),
            ],
            columns_text(true),
        ),
        "sp_pkeys" => (
            "sp_pkeys",
            [table()].into_iter().chain(rest_of_table()).collect(),
            include_str!("pkeys.sql").to_owned(),
        ),
        "sp_fkeys" => (
            "sp_fkeys",
            vec![
                optional("@pktable_name"),
                optional("@pktable_owner"),
                optional("@pktable_qualifier"),
                optional("@fktable_name"),
                optional("@fktable_owner"),
                optional("@fktable_qualifier"),
            ],
            include_str!("fkeys.sql").to_owned(),
        ),
        "sp_statistics" | "sp_statistics_100" => (
            "sp_statistics",
            [table()]
                .into_iter()
                .chain(rest_of_table())
                .chain([
                    ("@index_name", sysname(), Some(Value::text("%"))),
                    letter("@is_unique", "N"),
                    letter("@accuracy", "Q"),
                ])
                .collect(),
            include_str!("statistics.sql").to_owned(),
        ),
        "sp_special_columns" | "sp_special_columns_90" | "sp_special_columns_100" => (
            "sp_special_columns",
            [table()]
                .into_iter()
                .chain(rest_of_table())
                .chain([
                    letter("@col_type", "R"),
                    letter("@scope", "T"),
                    letter("@nullable", "U"),
                    version(),
                ])
                .collect(),
            format!("{TYPES}{}", include_str!("special_columns.sql")),
        ),
        "sp_datatype_info" | "sp_datatype_info_90" | "sp_datatype_info_100" => (
            "sp_datatype_info",
            vec![number("@data_type", SqlType::Int, 0), number("@ODBCVer", SqlType::TinyInt, 2)],
            include_str!("datatype_info.sql").to_owned(),
        ),
        "sp_stored_procedures" => (
            "sp_stored_procedures",
            vec![
                pattern("@sp_name"),
                pattern("@sp_owner"),
                optional("@sp_qualifier"),
                use_pattern(),
            ],
            include_str!("stored_procedures.sql").to_owned(),
        ),
        "sp_sproc_columns" | "sp_sproc_columns_90" | "sp_sproc_columns_100" => (
            "sp_sproc_columns",
            vec![
                ("@procedure_name", SqlType::NVarChar(Some(390)), Some(Value::text("%"))),
                pattern("@procedure_owner"),
                optional("@procedure_qualifier"),
                pattern("@column_name"),
                version(),
                use_pattern(),
            ],
            sproc_columns_text(name != "sp_sproc_columns"),
        ),
        "sp_table_privileges" => (
            "sp_table_privileges",
            vec![
                ("@table_name", SqlType::NVarChar(Some(384)), None),
                pattern("@table_owner"),
                optional("@table_qualifier"),
                use_pattern(),
            ],
            include_str!("table_privileges.sql").to_owned(),
        ),
        "sp_column_privileges" => (
            "sp_column_privileges",
            [table()].into_iter().chain(rest_of_table()).chain([pattern("@column_name")]).collect(),
            include_str!("column_privileges.sql").to_owned(),
        ),
        "sp_server_info" => (
            "sp_server_info",
            vec![("@attribute_id", SqlType::Int, Some(Value::Null))],
            include_str!("server_info.sql").to_owned(),
        ),
        "sp_databases" => ("sp_databases", Vec::new(), include_str!("databases.sql").to_owned()),
        _ => return None,
    };
    Some(Procedure { name, parameters, text })
}

/// Whether a procedure only reads the catalogue, or runs a text that FMTONLY then holds back.
pub fn is_catalogue_procedure(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name == "sp_executesql" || find(&name).is_some()
}

/// `sp_columns` is `sp_columns_100` without what came with SQL Server 2005 and 2008.
fn columns_text(with_extensions: bool) -> String {
    let extensions = match with_extensions {
        true => include_str!("columns_extensions.sql"),
        false => "",
    };
    let text = include_str!("columns.sql").replace("/* extensions */", extensions);
    format!("{TYPES}{text}")
}

/// `sp_sproc_columns` describes parameters as `sp_columns` does columns.
fn sproc_columns_text(with_extensions: bool) -> String {
    let extensions = match with_extensions {
        true => include_str!("sproc_columns_extensions.sql"),
        false => "",
    };
    let types = TYPES
        .replace("FROM sys.all_columns AS c", &format!("FROM {} AS c", SPROC_COLUMNS.trim_end()))
        .replace("WHERE o.type IN ('U', 'V', 'S')", "WHERE o.type = 'P'");
    let text = include_str!("sproc_columns.sql").replace("/* extensions */", extensions);
    format!("{types}{text}")
}

/// The parameters of procedures, and what they return, with the columns of `sys.all_columns`.
const SPROC_COLUMNS: &str = include_str!("sproc_columns_source.sql");

impl Executor<'_> {
    /// Calls a catalogue procedure by its bare name in lower case; none if there is no such one.
    pub(super) fn metadata_procedure(
        &mut self,
        name: &str,
        params: &[Param],
    ) -> Result<Option<Called>, Fault> {
        match name {
            "sp_helptext" => return self.help_text(params).map(Some),
            "sp_refreshview" => return self.refresh_view(params).map(Some),
            "sp_describe_first_result_set" => {
                return self.describe_first_result(params).map(Some);
            }
            "sp_describe_undeclared_parameters" => {
                return self.describe_parameters(params).map(Some);
            }
            _ => {}
        }
        let Some(procedure) = find(name) else {
            return Ok(None);
        };
        let arguments = bind(procedure.name, &procedure.parameters, params)?;
        self.check_qualifiers(&arguments)?;
        if name == "sp_fkeys" && arguments[0].value.is_null() && arguments[3].value.is_null() {
            let text = "Primary or foreign key table name must be given.";
            return Err(SqlError::new(15252, 16, 1, text).into());
        }
        self.run_text(&procedure.text, arguments)?;
        Ok(Some(Called { status: 0, outputs: Vec::new() }))
    }

    /// A qualifier can only name the current database.
    fn check_qualifiers(&self, arguments: &[Param]) -> Result<(), SqlError> {
        let current = self.session.database();
        let foreign =
            arguments.iter().filter(|param| param.name.ends_with("_qualifier")).any(|param| {
                let name = param.value.to_text().unwrap_or_default();
                // sp_tables has `%` for the list of all databases.
                !name.is_empty() && name != "%" && !same_name(&name, &current)
            });
        if !foreign {
            return Ok(());
        }
        let text = "The database name component of the object qualifier must be the name of the \
                    current database.";
        Err(SqlError::new(15250, 16, 1, text))
    }
}

/// Puts arguments under parameters, with their types and defaults.
///
/// # Errors
/// 201, 8144, 8145, 8114.
fn bind(
    procedure: &str,
    parameters: &[Parameter],
    params: &[Param],
) -> Result<Vec<Param>, SqlError> {
    let mut given: Vec<Option<&Param>> = vec![None; parameters.len()];
    for (at, param) in params.iter().enumerate() {
        let slot = match param.name.is_empty() {
            true => Some(at).filter(|at| *at < parameters.len()),
            false => {
                parameters.iter().position(|(name, ..)| name.eq_ignore_ascii_case(&param.name))
            }
        };
        let Some(slot) = slot else {
            return Err(match param.name.is_empty() {
                true => SqlError::new(
                    8144,
                    16,
                    2,
                    format!("Procedure or function {procedure} has too many arguments specified."),
                ),
                false => SqlError::new(
                    8145,
                    16,
                    1,
                    format!("{} is not a parameter for procedure {procedure}.", param.name),
                ),
            });
        };
        given[slot] = Some(param);
    }
    parameters
        .iter()
        .zip(given)
        .map(|((name, ty, default), given)| {
            let value = match (given, default) {
                (Some(param), _) => argument(param, ty)?,
                (None, Some(default)) => default.clone(),
                (None, None) => {
                    return Err(SqlError::new(
                        201,
                        16,
                        4,
                        format!(
                            "Procedure or function '{procedure}' expects parameter '{name}', which was not supplied."
                        ),
                    ));
                }
            };
            Ok(Param { name: (*name).to_owned(), ty: ty.clone(), value, output: false })
        })
        .collect()
}

fn argument(param: &Param, ty: &SqlType) -> Result<Value, SqlError> {
    let from = natural_type(&param.value).unwrap_or_else(|| param.ty.clone());
    if convert::implicit_allowed(&from, ty) {
        return convert::convert(&param.value, &from, ty, None);
    }
    let text = format!("Error converting data type {} to {}.", from.name(), ty.message_name());
    Err(SqlError::new(8114, 16, 1, text))
}
