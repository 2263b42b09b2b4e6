//! The function library: binding by name, evaluation in the modules below.

mod clr;
mod date;
mod date_parts;
mod hash;
mod logic;
mod math;
mod metadata;
mod string;
mod system;
mod variant;

pub use clr::{is_property, method, of_type};
pub use string::argument_type;

use super::bind::{Binder, Bound, Scope, types};
use super::expr::{Function, Node, Typed};
use super::syntax::ast::{Call, Expr};
use crate::{SqlError, SqlType, Value};

/// Result of a function.
type Computed = Result<Value, SqlError>;

/// A bound call's arguments.
pub struct Arguments {
    /// Function name in lower case, for messages.
    name: String,
    values: std::vec::IntoIter<Typed>,
    count: usize,
}

impl Arguments {
    fn new(name: &str, values: Vec<Typed>) -> Arguments {
        Arguments {
            name: name.to_ascii_lowercase(),
            count: values.len(),
            values: values.into_iter(),
        }
    }

    /// Checks the number of arguments.
    ///
    /// # Errors
    /// 174 for a fixed number, 189 for a range.
    fn arity(&self, least: usize, most: usize) -> Bound<()> {
        if (least..=most).contains(&self.count) {
            return Ok(());
        }
        Err(match least == most {
            true => SqlError::new(
                174,
                15,
                1,
                format!("The {} function requires {least} argument(s).", self.name),
            ),
            false => SqlError::new(
                189,
                15,
                1,
                format!("The {} function requires {least} to {most} arguments.", self.name),
            ),
        })
    }

    /// The next argument as it is.
    fn any(&mut self) -> Bound<Typed> {
        self.values.next().ok_or_else(|| {
            SqlError::new(
                174,
                15,
                1,
                format!("The {} function requires more argument(s).", self.name),
            )
        })
    }

    /// The next argument as a string.
    fn text(&mut self) -> Bound<Typed> {
        let value = self.any()?;
        let target = match &value.ty {
            Some(ty) if ty.is_old_lob() && self.takes_old_lobs() => return Ok(value),
            Some(ty) if !ty.is_comparable() || ty.is_clr() || *ty == SqlType::Variant => {
                let position = u32::try_from(self.count - self.values.len()).unwrap_or(1);
                return Err(argument_type(ty, position, &self.name));
            }
            Some(ty) if ty.is_text() => return Ok(value),
            Some(SqlType::VarBinary(None)) => SqlType::VarChar(None),
            Some(ty) => SqlType::VarChar(Some(ty.display_length())),
            None => SqlType::VarChar(Some(1)),
        };
        types::implicit(value, &target)
    }

    /// Whether it is one of the few functions over `text` and `ntext`.
    fn takes_old_lobs(&self) -> bool {
        matches!(&*self.name, "patindex" | "charindex" | "datalength")
    }

    /// The next argument as a type.
    fn of(&mut self, ty: &SqlType) -> Bound<Typed> {
        types::implicit(self.any()?, ty)
    }

    /// The next argument as an `int`.
    fn int(&mut self) -> Bound<Node> {
        Ok(self.of(&SqlType::Int)?.node)
    }

    /// Whether there is another one.
    fn more(&self) -> bool {
        self.values.len() > 0
    }
}

/// Binds a call of anything but an aggregate or window function.
///
/// # Errors
/// 195 and 4121 for unknown functions; numbers and types of arguments.
pub fn bind(binder: &Binder<'_, '_>, call: &Call, scope: &Scope<'_>) -> Bound<Typed> {
    if let [column @ .., method, name] = &call.name[..] {
        // `column.Method(…)`, `table.column.Method(…)`
        let column: Vec<String> = column.iter().chain([method]).cloned().collect();
        return match binder.scalar(&Expr::Column(column), scope) {
            Ok(value) => {
                let arguments = call
                    .arguments
                    .iter()
                    .map(|argument| binder.scalar(argument, scope))
                    .collect::<Bound<Vec<Typed>>>()?;
                clr::method(value, name, Some(arguments))
            }
            Err(_) => captured(binder, call, scope),
        };
    }
    let name = call.name[0].to_ascii_uppercase();
    if let Some(bound) = logic::with_conditions(binder, &name, call, scope)? {
        return Ok(bound);
    }
    if let Some(bound) = date::with_part(binder, &name, call, scope)? {
        return Ok(bound);
    }
    if let ("TEXTPTR", [column]) = (name.as_str(), &call.arguments[..]) {
        return binder.text_pointer(column, scope);
    }
    let values = call
        .arguments
        .iter()
        .map(|argument| binder.scalar(argument, scope))
        .collect::<Bound<Vec<Typed>>>()?;
    let mut arguments = Arguments::new(&name, values);
    for library in [
        string::bind,
        math::bind,
        date::bind,
        logic::bind,
        system::bind,
        metadata::bind,
        variant::bind,
        hash::bind,
    ] {
        if let Some(bound) = library(&name, &mut arguments)? {
            return Ok(bound);
        }
    }
    Err(SqlError::new(
        195,
        15,
        10,
        format!("'{}' is not a recognized built-in function name.", call.name[0]),
    ))
}

/// A function of change data capture.
fn captured(binder: &Binder<'_, '_>, call: &Call, scope: &Scope<'_>) -> Bound<Typed> {
    let full = call.name.join(".");
    // `database.schema.function`
    let (database, local) = match &call.name[..] {
        [database, schema, name] => (Some(database.as_str()), format!("{schema}.{name}")),
        _ => (None, full.clone()),
    };
    let Some(function) = crate::cdc::scalar_function(&local) else {
        return Err(SqlError::new(
            4121,
            16,
            1,
            format!(
                "Cannot find either column \"{}\" or the user-defined function or aggregate \"{full}\", or the name is ambiguous.",
                call.name[0]
            ),
        ));
    };
    let parameters = function.parameters();
    if call.arguments.len() != parameters.len() {
        let (number, what) = match call.arguments.len() > parameters.len() {
            true => (8144, "has too many arguments specified"),
            false => (313, "was called with an insufficient number of arguments"),
        };
        return Err(SqlError::new(number, 16, 3, format!("Procedure or function {full} {what}.")));
    }
    let mut arguments = Vec::new();
    for (argument, parameter) in call.arguments.iter().zip(&parameters) {
        let value = binder.scalar(argument, scope)?;
        arguments.push(types::implicit(value, &parameter.ty)?.node);
    }
    Ok(Typed {
        node: Node::Capture { function, elsewhere: binder.env.elsewhere(database)?, arguments },
        ty: Some(function.returns()),
        nullable: true,
    })
}

/// Binds `@@x`.
///
/// # Errors
/// 137 for an unknown one.
pub fn global(name: &str) -> Bound<Typed> {
    system::global(name).ok_or_else(|| {
        SqlError::new(137, 15, 2, format!("Must declare the scalar variable \"{name}\"."))
    })
}

/// A call whose arguments are all taken as they come.
fn call(function: Function, arguments: Vec<Node>, ty: SqlType) -> Bound<Option<Typed>> {
    Ok(Some(Typed::call(function, arguments, ty)))
}

/// A bare word in the place of an argument, as in DATEPART(year, …).
fn bare_word(argument: Option<&Expr>) -> Option<&str> {
    match argument {
        Some(Expr::Column(parts)) => match &parts[..] {
            [word] => Some(word),
            _ => None,
        },
        _ => None,
    }
}

/// A value of the library as text.
fn units(value: &Value) -> Option<Vec<u16>> {
    value.units().map(std::borrow::Cow::into_owned)
}

/// A string of the kind `like` is.
fn string_like(like: &Value, units: Vec<u16>) -> Value {
    match like {
        Value::String(text) => {
            let bytes = text.label().page().encode(&units);
            Value::String(bytes.into()).of_collation(text.label())
        }
        _ => Value::NString(units.into()),
    }
}
