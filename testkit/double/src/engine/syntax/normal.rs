//! Expressions as SQL Server stores them: the text of `sys.check_constraints`, `sys.computed_columns`,
//! `sys.default_constraints` and `sys.indexes.filter_definition`.
//!
//! SQL Server keeps no source text; it prints the tree. Names stand in brackets, numbers in
//! parentheses, functions in lower case; CAST is CONVERT; BETWEEN is two comparisons, IN is equalities joined by
//! OR from the last to the first, COALESCE and IIF are CASE; operators have no blanks around them,
//! and an operand that is itself an operation of the same or a lower level has parentheses.

use super::ast::{BinaryOp, Call, Case, CompareOp, Expr, UnaryOp};
use crate::{SqlType, Value};

/// An expression or condition in parentheses, as the catalogue shows it.
pub fn definition(expr: &Expr) -> String {
    format!("({})", text(expr))
}

/// An expression as it stands inside of a definition.
pub fn expression(expr: &Expr) -> String {
    text(expr)
}

/// Levels of binding, loosest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Or,
    And,
    Not,
    Compare,
    Add,
    Multiply,
    Unary,
    Primary,
}

fn level(expr: &Expr) -> Level {
    match expr {
        Expr::Or(..) => Level::Or,
        Expr::And(..) => Level::And,
        Expr::Between { negated: false, .. } => Level::And,
        Expr::InList(_, items, negated) if items.len() > 1 => {
            if *negated {
                Level::And
            } else {
                Level::Or
            }
        }
        Expr::Not(_) | Expr::Between { .. } | Expr::Like { negated: true, .. } => Level::Not,
        Expr::Compare(..) | Expr::IsNull(..) | Expr::InList(..) | Expr::Like { .. } => {
            Level::Compare
        }
        Expr::Binary(op, ..) => match op {
            BinaryOp::Multiply | BinaryOp::Divide | BinaryOp::Modulo => Level::Multiply,
            _ => Level::Add,
        },
        Expr::Collate(..) => Level::Unary,
        Expr::Unary(_, operand) if !matches!(**operand, Expr::Literal(..)) => Level::Unary,
        _ => Level::Primary,
    }
}

/// An operand that binds tighter than `least`, or is put in parentheses.
fn above(expr: &Expr, least: Level) -> String {
    if level(expr) > least { text(expr) } else { format!("({})", text(expr)) }
}

/// A side of AND or OR: one of the same kind goes on without parentheses, unless it stands for
/// something else as written.
fn side(expr: &Expr, own: Level) -> String {
    let same = matches!(
        (expr, own),
        (Expr::And(..) | Expr::Between { negated: false, .. }, Level::And)
            | (Expr::Or(..), Level::Or)
    );
    if same { text(expr) } else { above(expr, own) }
}

fn text(expr: &Expr) -> String {
    match expr {
        Expr::Literal(value, _) => literal(value, false),
        Expr::Column(parts) => {
            parts.iter().map(|part| bracketed(part)).collect::<Vec<_>>().join(".")
        }
        Expr::Variable(name) | Expr::Global(name) => name.clone(),
        Expr::Unary(op, operand) => unary(*op, operand),
        Expr::Binary(op, left, right) => {
            let own = level(expr);
            format!("{}{}{}", above(left, own), binary(*op), above(right, own))
        }
        Expr::Call(call) => function(call),
        Expr::Convert(convert) => {
            let name = if convert.attempt { "TRY_CONVERT" } else { "CONVERT" };
            let style = convert.style.as_ref().map_or(String::new(), |s| format!(",{}", text(s)));
            format!("{name}({},{}{style})", type_name(&convert.ty), text(&convert.value))
        }
        Expr::Method(method) => {
            let arguments = method.arguments.as_ref().map_or(String::new(), |arguments| {
                let shown: Vec<String> = arguments.iter().map(text).collect();
                format!("({})", shown.join(","))
            });
            format!("{}.{}{arguments}", above(&method.value, Level::Unary), bracketed(&method.name))
        }
        Expr::OfType(ty, name, arguments) => {
            let shown: Vec<String> = arguments.iter().map(text).collect();
            format!("{}::{name}({})", bracketed(ty.name()), shown.join(","))
        }
        Expr::Case(case) => case_text(case),
        Expr::Collate(value, label) => {
            format!("{} collate {}", above(value, Level::Unary), label.name())
        }
        Expr::Compare(op, left, right) => compare(*op, left, &text_of_operand(right)),
        Expr::And(left, right) => {
            format!("{} AND {}", side(left, Level::And), side(right, Level::And))
        }
        Expr::Or(left, right) => format!("{} OR {}", side(left, Level::Or), side(right, Level::Or)),
        Expr::Not(inner) => format!("NOT {}", above(inner, Level::Not)),
        Expr::IsNull(value, negated) => {
            let not = if *negated { "NOT " } else { "" };
            format!("{} IS {not}NULL", text_of_operand(value))
        }
        Expr::Between { value, low, high, negated } => {
            let both = format!(
                "{} AND {}",
                compare(CompareOp::GreaterOrEqual, value, &text_of_operand(low)),
                compare(CompareOp::LessOrEqual, value, &text_of_operand(high))
            );
            if *negated { format!("NOT ({both})") } else { both }
        }
        Expr::InList(value, items, negated) => {
            let (op, join) = match negated {
                true => (CompareOp::NotEqual, " AND "),
                false => (CompareOp::Equal, " OR "),
            };
            let tests: Vec<String> =
                items.iter().rev().map(|item| compare(op, value, &text_of_operand(item))).collect();
            tests.join(join)
        }
        Expr::Like { value, pattern, escape, negated } => {
            let not = if *negated { "NOT " } else { "" };
            let escape =
                escape.as_ref().map_or(String::new(), |escape| format!(" escape {}", text(escape)));
            format!("{not}{} like {}{escape}", text_of_operand(value), text_of_operand(pattern))
        }
        // None of these is allowed where a definition is kept.
        Expr::Subquery(_) | Expr::InQuery(..) | Expr::Exists(_) => "(select)".to_owned(),
        Expr::Default => "DEFAULT".to_owned(),
        Expr::NextValue(name) => {
            let schema = bracketed(name.schema.as_deref().unwrap_or("dbo"));
            format!("NEXT VALUE FOR {schema}.{}", bracketed(&name.name))
        }
    }
}

fn text_of_operand(expr: &Expr) -> String {
    above(expr, Level::Compare)
}

fn compare(op: CompareOp, left: &Expr, right: &str) -> String {
    let op = match op {
        CompareOp::Equal => "=",
        CompareOp::NotEqual => "<>",
        CompareOp::Less => "<",
        CompareOp::LessOrEqual => "<=",
        CompareOp::Greater => ">",
        CompareOp::GreaterOrEqual => ">=",
    };
    format!("{}{op}{right}", text_of_operand(left))
}

fn binary(op: BinaryOp) -> &'static str {
    match op {
        BinaryOp::Add => "+",
        BinaryOp::Subtract => "-",
        BinaryOp::Multiply => "*",
        BinaryOp::Divide => "/",
        BinaryOp::Modulo => "%",
        BinaryOp::BitAnd => "&",
        BinaryOp::BitOr => "|",
        BinaryOp::BitXor => "^",
    }
}

fn unary(op: UnaryOp, operand: &Expr) -> String {
    match (op, operand) {
        (UnaryOp::Minus, Expr::Literal(value, _)) => literal(value, true),
        (UnaryOp::Plus, operand) => text(operand),
        (UnaryOp::Minus, operand) => format!("-{}", above(operand, Level::Unary)),
        (UnaryOp::BitNot, operand) => format!("~{}", above(operand, Level::Unary)),
    }
}

/// `[name]`
pub fn bracketed(name: &str) -> String {
    format!("[{}]", name.replace(']', "]]"))
}

/// A constant: numbers in parentheses, strings in quotes.
pub fn literal(value: &Value, negative: bool) -> String {
    let sign = if negative { "-" } else { "" };
    let quoted =
        |text: Option<String>| format!("'{}'", text.unwrap_or_default().replace('\'', "''"));
    match value {
        Value::Null => "NULL".to_owned(),
        Value::String(_) => quoted(value.to_text()),
        Value::NString(_) => format!("N{}", quoted(value.to_text())),
        Value::Binary(bytes) => {
            let digits: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
            format!("0x{digits}")
        }
        // A whole number beyond `int` is a `numeric` and shows its point: `(3147483648.)`.
        Value::Decimal { unscaled, scale: 0 } => format!("({sign}{}.)", exact(*unscaled, 0)),
        Value::Decimal { unscaled, scale } => format!("({sign}{})", exact(*unscaled, *scale)),
        Value::Money(units) => format!("({sign}${})", exact(i128::from(*units), 4)),
        Value::Float(number) => {
            let text = format!("{number:.16e}");
            let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            let exponent: i32 = exponent.parse().unwrap_or(0);
            format!("({sign}{digits}e{exponent:+04})")
        }
        other => format!("({sign}{})", other.as_i64().unwrap_or_default()),
    }
}

fn exact(unscaled: i128, scale: u8) -> String {
    let scale = usize::from(scale);
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let sign = if unscaled < 0 { "-" } else { "" };
    if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

/// `[decimal](18,2)`
fn type_name(ty: &SqlType) -> String {
    let facets = match ty {
        SqlType::Decimal { precision, scale } | SqlType::Numeric { precision, scale } => {
            format!("({precision},{scale})")
        }
        other if other.is_max() => "(max)".to_owned(),
        SqlType::Char(n)
        | SqlType::NChar(n)
        | SqlType::Binary(n)
        | SqlType::VarChar(Some(n))
        | SqlType::NVarChar(Some(n))
        | SqlType::VarBinary(Some(n)) => format!("({n})"),
        SqlType::Time(n) | SqlType::DateTime2(n) | SqlType::DateTimeOffset(n) => format!("({n})"),
        _ => String::new(),
    };
    format!("[{}]{facets}", ty.name())
}

/// Full name of a part of a date.
fn date_part(word: &str) -> String {
    let lower = word.to_ascii_lowercase();
    match lower.as_str() {
        "yy" | "yyyy" => "year",
        "qq" | "q" => "quarter",
        "mm" | "m" => "month",
        "dy" | "y" => "dayofyear",
        "dd" | "d" => "day",
        "wk" | "ww" => "week",
        "dw" | "w" => "weekday",
        "hh" => "hour",
        "mi" | "n" => "minute",
        "ss" | "s" => "second",
        "ms" => "millisecond",
        "mcs" => "microsecond",
        "ns" => "nanosecond",
        "tz" => "tzoffset",
        "isowk" | "isoww" => "iso_week",
        _ => return lower,
    }
    .to_owned()
}

fn function(call: &Call) -> String {
    let [name] = call.name.as_slice() else {
        let name = call.name.iter().map(|part| bracketed(part)).collect::<Vec<_>>().join(".");
        return format!("{name}({})", list(&call.arguments));
    };
    let lower = name.to_ascii_lowercase();
    let takes_part =
        matches!(lower.as_str(), "dateadd" | "datediff" | "datediff_big" | "datename" | "datepart");
    match (lower.as_str(), call.arguments.as_slice()) {
        ("current_timestamp", []) => "getdate()".to_owned(),
        ("system_user", []) => "suser_sname()".to_owned(),
        ("user" | "current_user" | "session_user", []) => "user_name()".to_owned(),
        (part @ ("year" | "month" | "day"), [value]) => {
            format!("datepart({part},{})", text(value))
        }
        ("coalesce", [values @ .., last]) => {
            let branches: String = values
                .iter()
                .map(|value| {
                    format!("when {} IS NOT NULL then {} ", text_of_operand(value), text(value))
                })
                .collect();
            format!("case {branches}else {} end", text(last))
        }
        ("iif", [condition, yes, no]) => {
            format!("case when {} then {} else {} end", text(condition), text(yes), text(no))
        }
        (_, [Expr::Column(part), rest @ ..]) if takes_part && part.len() == 1 => {
            format!("{lower}({},{})", date_part(&part[0]), list(rest))
        }
        _ if call.star => format!("{lower}(*)"),
        _ => format!("{lower}({})", list(&call.arguments)),
    }
}

fn list(arguments: &[Expr]) -> String {
    arguments.iter().map(text).collect::<Vec<_>>().join(",")
}

fn case_text(case: &Case) -> String {
    let operand = case.operand.as_ref().map_or(String::new(), |value| format!("{} ", text(value)));
    let branches: String = case
        .branches
        .iter()
        .map(|(when, then)| format!("when {} then {} ", text(when), text(then)))
        .collect();
    let otherwise =
        case.otherwise.as_ref().map_or(String::new(), |value| format!("else {} ", text(value)));
    format!("case {operand}{branches}{otherwise}end")
}

#[cfg(test)]
mod tests {
    use super::super::{parse_condition, parse_scalar};
    use super::*;

    #[test]
    fn definitions_are_those_of_adventure_works() {
        for (source, kept) in [
            ("UPPER(Gender) IN ('M', 'F')", "(upper([Gender])='F' OR upper([Gender])='M')"),
            (
                "BirthDate BETWEEN '1930-01-01' AND DATEADD(YEAR, -18, GETDATE())",
                "([BirthDate]>='1930-01-01' AND [BirthDate]<=dateadd(year,(-18),getdate()))",
            ),
            (
                "EndDate >= StartDate OR EndDate IS NULL",
                "([EndDate]>=[StartDate] OR [EndDate] IS NULL)",
            ),
            (
                "PersonType IS NULL OR UPPER(PersonType) IN ('SC', 'VC')",
                "([PersonType] IS NULL OR (upper([PersonType])='VC' OR upper([PersonType])='SC'))",
            ),
            ("a > 0 and (b = 1 or c = N'x''y')", "([a]>(0) AND ([b]=(1) OR [c]=N'x''y'))"),
            ("not a like '%@%' and b <> 2.50", "(NOT [a] like '%@%' AND [b]<>(2.50))"),
        ] {
            let parsed = parse_condition(source).expect(source);
            assert_eq!(definition(&parsed), kept, "{source}");
        }
        for (source, kept) in [
            (
                "ISNULL(UnitPrice * (1.0 - UnitPriceDiscount) * OrderQty, 0.0)",
                "(isnull(([UnitPrice]*((1.0)-[UnitPriceDiscount]))*[OrderQty],(0.0)))",
            ),
            (
                "ISNULL(SubTotal + TaxAmt + Freight, 0)",
                "(isnull(([SubTotal]+[TaxAmt])+[Freight],(0)))",
            ),
            ("0", "((0))"),
            ("(((-1)))", "((-1))"),
            ("'x'", "('x')"),
            ("2147483647", "((2147483647))"),
            ("3147483648", "((3147483648.))"),
            ("-3147483648", "((-3147483648.))"),
            ("CURRENT_TIMESTAMP", "(getdate())"),
            ("CAST(a AS decimal(10, 2))", "(CONVERT([decimal](10,2),[a]))"),
            ("a + b * c", "([a]+[b]*[c])"),
            ("COALESCE(a, b)", "(case when [a] IS NOT NULL then [a] else [b] end)"),
            ("YEAR(d)", "(datepart(year,[d]))"),
        ] {
            let parsed = parse_scalar(source).expect(source);
            assert_eq!(definition(&parsed), kept, "{source}");
        }
    }

    #[test]
    fn a_definition_read_again_stays_what_it_is() {
        for source in [
            "a between 1 and 2 or not b in (1, 2) and c not between 3 and 4",
            "case a when 1 then 'x' else convert(varchar(max), b, 120) end = 'y'",
            "-a * ~b % 3 - (c - d) > 1e10 and iif(a > b, a, b) = $1.5",
            "a < 3147483648 and b > -9223372036854775808 or c = 12345678901234567890",
            "datediff(dd, a, b) > 0x0F00 or (a = 1 or b = 2) and (c = 3 or d is not null)",
        ] {
            let once = definition(&parse_condition(source).expect(source));
            let twice = definition(&parse_condition(&once).expect(&once));
            assert_eq!(once, twice, "{source}");
        }
    }
}
