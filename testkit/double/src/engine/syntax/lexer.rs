//! Text to tokens.

use crate::SqlError;

/// A token's content.
#[derive(Clone, Debug, PartialEq)]
pub enum TokenKind {
    /// A word: keyword or identifier.
    Word(String),
    /// `[x]` or `"x"`: always an identifier.
    Quoted(String),
    /// `@x`, with the sign.
    Variable(String),
    /// `@@x`, with the signs.
    Global(String),
    /// An exact number: digits with at most one point.
    Number(String),
    /// A number with an exponent.
    Float(String),
    /// `$1.5`, without the sign.
    Money(String),
    /// `0x…`
    Hex(Vec<u8>),
    /// `'…'`
    String(String),
    /// `N'…'`
    NString(String),
    /// An operator or punctuation mark.
    Symbol(&'static str),
    /// End of the batch.
    End,
}

/// A token and where it stands.
#[derive(Clone, Debug)]
pub struct Token {
    /// Content.
    pub kind: TokenKind,
    /// Line, from 1.
    pub line: u32,
    /// Byte range in the text.
    pub start: usize,
    /// End of the byte range.
    pub end: usize,
}

/// Longest first.
const SYMBOLS: [&str; 33] = [
    "<>", "<=", ">=", "!=", "!<", "!>", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "::", "(",
    ")", ",", ";", ".", "=", "<", ">", "+", "-", "*", "/", "%", "&", "|", "^", "~", ":",
];

/// Splits a batch into tokens, comments dropped, with [`TokenKind::End`] last.
pub fn tokenize(text: &str) -> Result<Vec<Token>, SqlError> {
    let mut lexer = Lexer { text, at: 0, line: 1 };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_blanks()?;
        let (start, line) = (lexer.at, lexer.line);
        let kind = lexer.next()?;
        let done = kind == TokenKind::End;
        tokens.push(Token { kind, line, start, end: lexer.at });
        if done {
            return Ok(tokens);
        }
    }
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    line: u32,
}

fn starts_word(c: char) -> bool {
    c.is_alphabetic() || c == '_' || c == '#'
}

fn continues_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '#' | '$' | '@')
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn advance(&mut self, bytes: usize) -> &'a str {
        let part = &self.text[self.at..self.at + bytes];
        self.line += part.bytes().filter(|b| *b == b'\n').count() as u32;
        self.at += bytes;
        part
    }

    fn error(&self, number: i32, message: String) -> SqlError {
        let mut error = SqlError::new(number, 15, 1, message);
        error.line = self.line;
        error
    }

    fn skip_blanks(&mut self) -> Result<(), SqlError> {
        loop {
            let rest = self.rest();
            if let Some(first) = rest.chars().next()
                && (first.is_whitespace() || first == '\u{FEFF}')
            {
                self.advance(first.len_utf8());
            } else if rest.starts_with("--") {
                self.advance(rest.find('\n').unwrap_or(rest.len()));
            } else if rest.starts_with("/*") {
                self.skip_comment()?;
            } else {
                return Ok(());
            }
        }
    }

    /// Block comments nest.
    fn skip_comment(&mut self) -> Result<(), SqlError> {
        let mut depth = 0;
        loop {
            let rest = self.rest();
            if rest.starts_with("/*") {
                depth += 1;
                self.advance(2);
            } else if rest.starts_with("*/") {
                depth -= 1;
                self.advance(2);
                if depth == 0 {
                    return Ok(());
                }
            } else if let Some(c) = rest.chars().next() {
                self.advance(c.len_utf8());
            } else {
                return Err(self.error(113, "Missing end comment mark '*/'.".into()));
            }
        }
    }

    fn next(&mut self) -> Result<TokenKind, SqlError> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else {
            return Ok(TokenKind::End);
        };
        let second = rest[first.len_utf8()..].chars().next();
        match first {
            '\'' => Ok(TokenKind::String(self.delimited('\'')?)),
            'N' | 'n' if second == Some('\'') => {
                self.advance(1);
                Ok(TokenKind::NString(self.delimited('\'')?))
            }
            '[' => self.quoted(']'),
            '"' => self.quoted('"'),
            '@' => {
                let len = rest.find(|c: char| !continues_word(c)).unwrap_or(rest.len());
                let word = self.advance(len).to_owned();
                Ok(if word.starts_with("@@") {
                    TokenKind::Global(word)
                } else {
                    TokenKind::Variable(word)
                })
            }
            '0' if matches!(second, Some('x' | 'X')) => self.hex(),
            '0'..='9' => Ok(self.number()),
            '.' if second.is_some_and(|c| c.is_ascii_digit()) => Ok(self.number()),
            '$' if second.is_some_and(|c| c.is_ascii_digit() || c == '.') => {
                self.advance(1);
                let digits = self.digits_and_point();
                Ok(TokenKind::Money(digits))
            }
            // `$action`, `$IDENTITY`
            '$' if second.is_some_and(starts_word) => {
                let len =
                    rest[1..].find(|c: char| !continues_word(c)).map_or(rest.len(), |at| at + 1);
                Ok(TokenKind::Word(self.advance(len).to_owned()))
            }
            c if starts_word(c) => {
                let len = rest.find(|c: char| !continues_word(c)).unwrap_or(rest.len());
                Ok(TokenKind::Word(self.advance(len).to_owned()))
            }
            _ => {
                for symbol in SYMBOLS {
                    if rest.starts_with(symbol) {
                        self.advance(symbol.len());
                        return Ok(TokenKind::Symbol(symbol));
                    }
                }
                Err(self.error(102, format!("Incorrect syntax near '{first}'.")))
            }
        }
    }

    fn quoted(&mut self, close: char) -> Result<TokenKind, SqlError> {
        let name = self.delimited(close)?;
        if name.is_empty() {
            return Err(self.error(1038, "An object or column name is missing or empty.".into()));
        }
        if name.encode_utf16().count() > 128 {
            return Err(self.error(
                103,
                format!(
                    "The identifier that starts with '{}' is too long. Maximum length is 128.",
                    name.chars().take(128).collect::<String>()
                ),
            ));
        }
        Ok(TokenKind::Quoted(name))
    }

    /// Reads up to an unescaped `close`; a doubled one stands for itself.
    fn delimited(&mut self, close: char) -> Result<String, SqlError> {
        let start = self.at;
        self.advance(1);
        let mut content = String::new();
        loop {
            let rest = self.rest();
            let Some(end) = rest.find(close) else {
                let shown: String = self.text[start + 1..].chars().take(128).collect();
                return Err(self.error(
                    105,
                    format!("Unclosed quotation mark after the character string '{shown}'."),
                ));
            };
            content.push_str(self.advance(end));
            self.advance(close.len_utf8());
            if self.rest().starts_with(close) {
                content.push(close);
                self.advance(close.len_utf8());
            } else {
                return Ok(content);
            }
        }
    }

    fn hex(&mut self) -> Result<TokenKind, SqlError> {
        self.advance(2);
        let rest = self.rest();
        let len = rest.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(rest.len());
        let digits = self.advance(len);
        // An odd number of digits means a leading zero.
        let padded = if len % 2 == 1 { format!("0{digits}") } else { digits.to_owned() };
        let nibble = |b: u8| (b as char).to_digit(16).unwrap_or_default() as u8;
        let bytes = padded
            .as_bytes()
            .chunks(2)
            .map(|pair| nibble(pair[0]) << 4 | nibble(pair[1]))
            .collect();
        Ok(TokenKind::Hex(bytes))
    }

    fn digits_and_point(&mut self) -> String {
        let rest = self.rest();
        let mut point = false;
        let len = rest
            .find(|c: char| {
                if c == '.' && !point {
                    point = true;
                    return false;
                }
                !c.is_ascii_digit()
            })
            .unwrap_or(rest.len());
        self.advance(len).to_owned()
    }

    fn number(&mut self) -> TokenKind {
        let mantissa = self.digits_and_point();
        let rest = self.rest().as_bytes();
        if !matches!(rest.first(), Some(b'e' | b'E')) {
            return TokenKind::Number(mantissa);
        }
        let mut len = 1;
        if matches!(rest.get(1), Some(b'+' | b'-')) {
            len += 1;
        }
        while rest.get(len).is_some_and(u8::is_ascii_digit) {
            len += 1;
        }
        let mut exponent = self.advance(len).to_owned();
        // `1e` is `1e0`.
        if !exponent.ends_with(|c: char| c.is_ascii_digit()) {
            exponent.push('0');
        }
        TokenKind::Float(mantissa + &exponent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<TokenKind> {
        let mut kinds: Vec<_> =
            tokenize(text).expect("valid text").into_iter().map(|t| t.kind).collect();
        kinds.pop();
        kinds
    }

    #[test]
    fn literals() {
        assert_eq!(
            kinds("N'a''b' 'c' 0xABC 1. .5 1e3 2E-1 $4.5 @v @@x [a]]b]"),
            vec![
                TokenKind::NString("a'b".into()),
                TokenKind::String("c".into()),
                TokenKind::Hex(vec![0x0A, 0xBC]),
                TokenKind::Number("1.".into()),
                TokenKind::Number(".5".into()),
                TokenKind::Float("1e3".into()),
                TokenKind::Float("2E-1".into()),
                TokenKind::Money("4.5".into()),
                TokenKind::Variable("@v".into()),
                TokenKind::Global("@@x".into()),
                TokenKind::Quoted("a]b".into()),
            ]
        );
    }

    #[test]
    fn comments_nest_and_lines_count() {
        let tokens = tokenize("-- x\n/* a /* b\n */ */ SELECT").expect("valid");
        assert_eq!(tokens[0].line, 3);
        assert_eq!(tokenize("/* x").expect_err("open").number, 113);
        assert_eq!(tokenize("'x").expect_err("open").number, 105);
    }
}
