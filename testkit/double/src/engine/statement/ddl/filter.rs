//! `WHERE` of a filtered index: comparisons of columns with constants, joined by AND.

use crate::SqlError;
use crate::engine::bind::{Binder, Scope};
use crate::engine::convert;
use crate::engine::expr::Frame;
use crate::engine::fault::{Fault, of_binding};
use crate::engine::syntax::ast::{CompareOp, Expr, UnaryOp};
use crate::engine::syntax::normal::{bracketed, literal};
use crate::storage::{ColumnDef, Comparison, FilterDef, FilterTerm, FilterTest, TableDef};
use crate::{SqlType, Value};

/// Binds the filter of an index on a table.
///
/// # Errors
/// 10735 for what no filter may say, 10609 for a computed column, 10620 for a constant that the
/// column would have to be converted for, 207.
pub fn filter_def(
    binder: &Binder<'_, '_>,
    table: &TableDef,
    index: &str,
    filter: &Expr,
) -> Result<FilterDef, Fault> {
    let mut conjuncts = Vec::new();
    flatten(filter, &mut conjuncts);
    let (mut terms, mut texts) = (Vec::new(), Vec::new());
    for conjunct in conjuncts {
        let (term, text) = term(binder, table, index, conjunct)?;
        terms.push(term);
        texts.push(text);
    }
    Ok(FilterDef { definition: format!("({})", texts.join(" AND ")), terms })
}

fn flatten<'e>(filter: &'e Expr, conjuncts: &mut Vec<&'e Expr>) {
    match filter {
        Expr::And(left, right) => {
            flatten(left, conjuncts);
            flatten(right, conjuncts);
        }
        other => conjuncts.push(other),
    }
}

/// Error 10735.
fn incorrect(table: &TableDef, index: &str) -> Fault {
    Fault::Compile(SqlError::new(
        10735,
        15,
        1,
        format!(
            "Incorrect WHERE clause for filtered index '{index}' on table '{}'.",
            table.full_name()
        ),
    ))
}

fn term(
    binder: &Binder<'_, '_>,
    table: &TableDef,
    index: &str,
    filter: &Expr,
) -> Result<(FilterTerm, String), Fault> {
    let wrong = || incorrect(table, index);
    match filter {
        Expr::IsNull(value, negated) => {
            let column = column(table, index, value)?;
            let (test, word) = match negated {
                true => (FilterTest::IsNotNull, "IS NOT NULL"),
                false => (FilterTest::IsNull, "IS NULL"),
            };
            let text = format!("{} {word}", bracketed(&column.name));
            Ok((FilterTerm { column: column.id, test }, text))
        }
        Expr::InList(value, items, false) => {
            let column = column(table, index, value)?;
            let (mut values, mut texts) = (Vec::new(), Vec::new());
            for item in items {
                let (value, text) = constant(binder, table, index, column, item)?;
                values.push(value);
                texts.push(text);
            }
            let text = format!("{} IN ({})", bracketed(&column.name), texts.join(", "));
            Ok((FilterTerm { column: column.id, test: FilterTest::In(values) }, text))
        }
        Expr::Compare(op, left, right) => {
            let (comparison, sign) = match op {
                CompareOp::Equal => (Comparison::Equal, "="),
                CompareOp::NotEqual => (Comparison::NotEqual, "<>"),
                CompareOp::Less => (Comparison::Less, "<"),
                CompareOp::LessOrEqual => (Comparison::LessOrEqual, "<="),
                CompareOp::Greater => (Comparison::Greater, ">"),
                CompareOp::GreaterOrEqual => (Comparison::GreaterOrEqual, ">="),
            };
            let column = column(table, index, left)?;
            let (value, text) = constant(binder, table, index, column, right)?;
            let text = format!("{}{sign}{text}", bracketed(&column.name));
            let test = FilterTest::Compare(comparison, value);
            Ok((FilterTerm { column: column.id, test }, text))
        }
        _ => Err(wrong()),
    }
}

fn column<'t>(table: &'t TableDef, index: &str, expr: &Expr) -> Result<&'t ColumnDef, Fault> {
    let Expr::Column(parts) = expr else {
        return Err(incorrect(table, index));
    };
    let [name] = parts.as_slice() else {
        return Err(incorrect(table, index));
    };
    let column = table.column(name).ok_or_else(|| {
        Fault::Compile(SqlError::new(207, 16, 1, format!("Invalid column name '{name}'.")))
    })?;
    if column.computed.is_some() {
        return Err(Fault::Compile(SqlError::new(
            10609,
            16,
            1,
            format!(
                "Filtered index '{index}' cannot be created on table '{}' because the column '{}' in the filter expression is a computed column. Rewrite the filter expression so that it does not include this column.",
                table.full_name(),
                column.name
            ),
        )));
    }
    Ok(column)
}

/// A constant as a value of the column's type, and its text.
fn constant(
    binder: &Binder<'_, '_>,
    table: &TableDef,
    index: &str,
    column: &ColumnDef,
    expr: &Expr,
) -> Result<(Value, String), Fault> {
    let text = match expr {
        Expr::Literal(Value::Null, _) => return Err(incorrect(table, index)),
        Expr::Literal(value, _) => literal(value, false),
        Expr::Unary(UnaryOp::Minus, operand) => match &**operand {
            Expr::Literal(value, _) => literal(value, true),
            _ => return Err(incorrect(table, index)),
        },
        // A conversion of a constant is one.
        Expr::Convert(inner) if matches!(inner.value, Expr::Literal(..)) => {
            crate::engine::syntax::normal::expression(expr)
        }
        _ => return Err(incorrect(table, index)),
    };
    let typed = binder.scalar(expr, &Scope::inside(None)).map_err(of_binding)?;
    let from = typed.ty.clone().unwrap_or(SqlType::Int);
    // Within a family of exact numbers a constant of a higher type is taken for what it is.
    let exact = |ty: &SqlType| ty.as_decimal().is_some();
    let fits = from.rank() <= column.ty.rank()
        || (exact(&from) && exact(&column.ty))
        || (from.is_text() && column.ty.is_text() && from.is_unicode() == column.ty.is_unicode());
    if !fits {
        return Err(Fault::Compile(SqlError::new(
            10620,
            16,
            1,
            format!(
                "Filtered index '{index}' cannot be created on table '{}' because the column '{}' in the filter expression is compared with a constant of higher data type precedence or of a different collation. Converting a column to the data type of a constant is not supported for filtered index. To resolve this error, explicitly convert the constant to the same data type and collation as the column '{}'.",
                table.full_name(),
                column.name,
                column.name
            ),
        )));
    }
    let value = typed.node.eval(&Frame::empty(), binder.env)?.into_owned();
    // A number is compared as it is: 2.5 is no value of an int, and must not become 2.
    if exact(&from) && exact(&column.ty) {
        return Ok((value, text));
    }
    Ok((convert::convert(&value, &from, &column.ty, None)?, text))
}
