//! T-SQL's tokens, as far as expressions need them.
//!
//! <https://learn.microsoft.com/en-us/sql/t-sql/data-types/constants-transact-sql>

use super::Refusal;

/// A token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// Digits, perhaps with a point or an exponent.
    Number(String),
    /// `$1.50`, without the sign.
    Money(String),
    /// A string constant.
    Text { value: String, unicode: bool },
    /// `0x…`
    Bytes(Vec<u8>),
    /// A name or a keyword.
    Word { text: String, quoted: bool },
    /// An operator or a mark.
    Mark(&'static str),
}

/// Longest first.
const MARKS: &[&str] = &[
    "<=", ">=", "<>", "!=", "!<", "!>", "(", ")", ",", ".", "+", "-", "*", "/", "%", "&", "|", "^",
    "~", "=", "<", ">",
];

/// Takes a text apart.
///
/// # Errors
/// What in it is no token.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, Refusal> {
    let mut rest = text;
    let mut tokens = Vec::new();
    loop {
        rest = skip_blanks(rest)?;
        let Some(first) = rest.chars().next() else { return Ok(tokens) };
        let (token, after) = match first {
            '\'' => string(rest, false)?,
            'N' | 'n' if rest[1..].starts_with('\'') => string(&rest[1..], true)?,
            '[' => quoted(rest, ']')?,
            '"' => quoted(rest, '"')?,
            '0' if rest[1..].starts_with(['x', 'X']) => bytes(&rest[2..])?,
            '$' => {
                let (digits, after) = number(&rest[1..]);
                (Token::Money(digits.to_owned()), after)
            }
            '0'..='9' => {
                let (digits, after) = number(rest);
                (Token::Number(digits.to_owned()), after)
            }
            '.' if rest[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                let (digits, after) = number(rest);
                (Token::Number(format!("0{digits}")), after)
            }
            c if c.is_alphabetic() || c == '_' => {
                let end = rest.find(|c: char| !is_part(c)).unwrap_or(rest.len());
                (Token::Word { text: rest[..end].to_owned(), quoted: false }, &rest[end..])
            }
            c => match MARKS.iter().find(|mark| rest.starts_with(**mark)) {
                Some(mark) => (Token::Mark(mark), &rest[mark.len()..]),
                None => return Err(format!("the character `{c}` is not understood")),
            },
        };
        tokens.push(token);
        rest = after;
    }
}

fn is_part(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '@' | '#' | '$')
}

fn skip_blanks(mut rest: &str) -> Result<&str, Refusal> {
    loop {
        rest = rest.trim_start();
        if let Some(comment) = rest.strip_prefix("--") {
            rest = comment.split_once('\n').map_or("", |(_, after)| after);
        } else if rest.starts_with("/*") {
            return Err("it has a comment inside".to_owned());
        } else {
            return Ok(rest);
        }
    }
}

fn string(rest: &str, unicode: bool) -> Result<(Token, &str), Refusal> {
    let (value, after) = until(&rest[1..], '\'').ok_or("a string does not end")?;
    Ok((Token::Text { value, unicode }, after))
}

fn quoted(rest: &str, end: char) -> Result<(Token, &str), Refusal> {
    let (text, after) = until(&rest[1..], end).ok_or("a quoted name does not end")?;
    Ok((Token::Word { text, quoted: true }, after))
}

/// Up to `end`, which stands for itself when doubled.
fn until(text: &str, end: char) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut rest = text;
    loop {
        let (before, after) = rest.split_once(end)?;
        value.push_str(before);
        match after.strip_prefix(end) {
            Some(more) => {
                value.push(end);
                rest = more;
            }
            None => return Some((value, after)),
        }
    }
}

fn bytes(rest: &str) -> Result<(Token, &str), Refusal> {
    let end = rest.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(rest.len());
    let (digits, after) = rest.split_at(end);
    // An odd number of digits has a zero in front.
    let even = if digits.len() % 2 == 1 { format!("0{digits}") } else { digits.to_owned() };
    let byte = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(pair, 16).ok()
    };
    let value = even.as_bytes().chunks(2).map(byte).collect::<Option<Vec<u8>>>();
    Ok((Token::Bytes(value.ok_or("a binary constant is not hexadecimal")?), after))
}

/// Digits, a point, digits, an exponent.
fn number(rest: &str) -> (&str, &str) {
    let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let mut end = digits(rest);
    if rest[end..].starts_with('.') {
        end += 1 + digits(&rest[end + 1..]);
    }
    if rest[end..].starts_with(['e', 'E']) {
        let sign = usize::from(rest[end + 1..].starts_with(['+', '-']));
        end += 1 + sign + digits(&rest[end + 1 + sign..]);
    }
    rest.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_constants_apart() {
        let found = tokens("(N'it''s'+[a]]b]) <> 0x0AF -- end\n, 1.5e-3 $2.50 .5").unwrap();
        let word = |text: &str, quoted| Token::Word { text: text.into(), quoted };
        assert_eq!(
            found,
            [
                Token::Mark("("),
                Token::Text { value: "it's".into(), unicode: true },
                Token::Mark("+"),
                word("a]b", true),
                Token::Mark(")"),
                Token::Mark("<>"),
                Token::Bytes(vec![0, 0xaf]),
                Token::Mark(","),
                Token::Number("1.5e-3".into()),
                Token::Money("2.50".into()),
                Token::Number("0.5".into()),
            ]
        );
    }

    #[test]
    fn refuses_what_does_not_end() {
        for text in ["'a", "[a", "\"a", "a ; b", "@x", "/* x */ 1", "ä§"] {
            assert!(tokens(text).is_err(), "{text}");
        }
    }
}
