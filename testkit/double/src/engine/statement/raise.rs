//! THROW and RAISERROR.

use crate::engine::batch::{Executor, Flow};
use crate::engine::env::Results;
use crate::engine::fault::Fault;
use crate::engine::syntax::ast::Expr;
use crate::{SqlError, SqlType, Value};

impl Executor<'_> {
    /// THROW: the error it raises.
    pub(crate) fn throw(&mut self, values: Option<&(Expr, Expr, Expr)>) -> Result<Fault, Fault> {
        let Some((number, message, state)) = values else {
            let Some(error) = self.session.status.caught.clone() else {
                return Err(Fault::Compile(SqlError::new(
                    10704,
                    15,
                    1,
                    "To rethrow an error, a THROW statement must be used inside a CATCH block.",
                )));
            };
            return Ok(Fault::Thrown(error));
        };
        let number = self.integer(number)?.unwrap_or(0);
        let message = self.evaluate_as(message, &SqlType::NVarChar(Some(2048)))?;
        let state = self.integer(state)?.unwrap_or(0);
        if number < 50000 {
            return Err(SqlError::new(
                35100,
                16,
                10,
                format!("Error number {number} in the THROW statement is outside the valid range. Specify an error number in the valid range of 50000 to 2147483647."),
            )
            .into());
        }
        Ok(Fault::Thrown(SqlError::new(
            number,
            16,
            u8::try_from(state).unwrap_or(0),
            message.to_text().unwrap_or_default(),
        )))
    }

    pub(crate) fn raise_error(
        &mut self,
        message: &Expr,
        severity: &Expr,
        state: &Expr,
        arguments: &[Expr],
    ) -> Result<Flow, Fault> {
        let (text, ty) = self.evaluate(message)?;
        if ty.as_ref().is_some_and(SqlType::is_numeric) {
            return Err(SqlError::new(
                18054,
                16,
                1,
                "Error numbers of user-defined messages are not supported by this server; give the text.",
            )
            .into());
        }
        let severity = self.integer(severity)?.unwrap_or(0).clamp(0, 25);
        let state = self.integer(state)?.unwrap_or(0).clamp(0, 255);
        let mut values = Vec::new();
        for argument in arguments {
            values.push(self.evaluate(argument)?);
        }
        let text = formatted(&text.to_text().unwrap_or_default(), &values)?;
        let class = u8::try_from(severity).unwrap_or(16);
        if class > 18 && !self.session.status.rights.sysadmin {
            return Err(SqlError::new(
                2754,
                16,
                1,
                "Error severity levels greater than 18 can only be specified by members of the sysadmin role, using the WITH LOG option.",
            )
            .into());
        }
        let error = SqlError::new(50000, class, u8::try_from(state).unwrap_or(1), text);
        if class <= 10 {
            self.sink.message(&error)?;
            self.session.status.error = 0;
            return Ok(Flow::Next);
        }
        Err(Fault::Raised(error))
    }
}

/// `%d`, `%i`, `%u`, `%x`, `%s` and `%%` of RAISERROR, with width and flags left out.
fn formatted(text: &str, values: &[(Value, Option<SqlType>)]) -> Result<String, SqlError> {
    let mut values = values.iter();
    let mut result = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            result.push(c);
            continue;
        }
        let kind = chars.next();
        if kind == Some('%') {
            result.push('%');
            continue;
        }
        let value = values.next();
        match (kind, value) {
            (Some('d' | 'i' | 'u' | 's' | 'x'), None) => result.push_str("(null)"),
            (Some('d' | 'i' | 'u'), Some((value, _)))
                if value.is_null() || value.as_i64().is_some() =>
            {
                result.push_str(&value.as_i64().map_or("(null)".into(), |v| v.to_string()));
            }
            (Some('x'), Some((value, _))) if value.as_i64().is_some() => {
                result.push_str(&format!("{:x}", value.as_i64().unwrap_or_default()));
            }
            (Some('s'), Some((value, _))) if value.is_null() || value.units().is_some() => {
                result.push_str(&value.to_text().unwrap_or_else(|| "(null)".into()));
            }
            _ => {
                return Err(SqlError::new(
                    2786,
                    16,
                    1,
                    "The data type of a substitution parameter does not match the expected type of the format specification.",
                ));
            }
        }
    }
    Ok(result)
}
