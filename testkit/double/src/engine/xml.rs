//! `xml`: text becomes what SQL Server keeps of it, which is content, not characters.
//!
//! The declaration goes, CDATA becomes text, text of nothing but white space goes (unless it is to
//! be preserved), empty elements take their short form, quotes are double, references to characters
//! are resolved, and what must be escaped is. Fragments are content too. Document types are refused,
//! as SQL Server does without style 2.
//! <https://learn.microsoft.com/sql/t-sql/data-types/xml-transact-sql>

use crate::SqlError;

/// Serialized content of an XML text.
///
/// # Errors
/// 6359 for a document type, 9400 to 9459 for text that is not well-formed.
pub fn normalize(text: &str, preserve: bool) -> Result<String, SqlError> {
    let mut parser = Parser {
        text,
        at: 0,
        out: String::with_capacity(text.len()),
        open: Vec::new(),
        prefixes: Vec::new(),
        unclosed: false,
        run: String::new(),
        significant: false,
        preserve,
    };
    parser.content()?;
    Ok(parser.out)
}

/// Decodes bytes as an XML reader does: by their mark, their declaration, else as UTF-8.
///
/// # Errors
/// 9401 for an encoding that is not known, 9420 for bytes that are not of it.
pub fn decode(bytes: &[u8]) -> Result<String, SqlError> {
    let wide = |bytes: &[u8], read: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = bytes.chunks_exact(2).map(|pair| read([pair[0], pair[1]])).collect();
        String::from_utf16(&units).map_err(|_| error(9420, "illegal xml character", 1, 1))
    };
    match bytes {
        [0xFF, 0xFE, rest @ ..] => wide(rest, u16::from_le_bytes),
        [0xFE, 0xFF, rest @ ..] => wide(rest, u16::from_be_bytes),
        [b'<', 0, ..] => wide(bytes, u16::from_le_bytes),
        _ => {
            let bytes = bytes.strip_prefix(&[0xEF, 0xBB, 0xBF]).unwrap_or(bytes);
            let ascii: String = bytes.iter().take(200).map(|byte| char::from(*byte)).collect();
            let name = declared_encoding(&ascii).unwrap_or("utf-8").to_ascii_lowercase();
            let encoding = encoding_rs::Encoding::for_label(name.as_bytes())
                .filter(|_| !name.starts_with("utf-16"))
                .ok_or_else(|| error(9401, "unrecognized encoding", 1, 1))?;
            encoding
                .decode_without_bom_handling_and_without_replacement(bytes)
                .map(std::borrow::Cow::into_owned)
                .ok_or_else(|| error(9420, "illegal xml character", 1, 1))
        }
    }
}

/// The encoding that a declaration names.
pub fn declared_encoding(text: &str) -> Option<&str> {
    let declaration = text.strip_prefix("<?xml")?;
    let declaration = &declaration[..declaration.find("?>")?];
    let (_, rest) = declaration.split_once("encoding")?;
    let rest = rest.trim_start().strip_prefix('=')?.trim_start();
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    rest[1..].split(quote).next()
}

/// Error 9402: text that is UTF-16 already says that it is something else.
pub fn check_unicode_declaration(text: &str) -> Result<(), SqlError> {
    match declared_encoding(text) {
        Some(name) if !name.to_ascii_lowercase().starts_with("utf-16") && name != "UCS-2" => {
            let at = text.find("?>").map_or(1, |at| at + 2);
            Err(error(9402, "unable to switch the encoding", 1, at))
        }
        _ => Ok(()),
    }
}

fn error(number: i32, what: &str, line: usize, character: usize) -> SqlError {
    SqlError::new(number, 16, 1, format!("XML parsing: line {line}, character {character}, {what}"))
}

fn starts_name(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

fn continues_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':' | '\u{B7}') || is_combining(c)
}

fn is_combining(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36F}' | '\u{203F}'..='\u{2040}')
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

/// Characters that XML 1.0 knows.
fn is_legal(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..)
}

struct Element<'a> {
    name: &'a str,
    /// Prefixes declared before it.
    prefixes: usize,
    /// `xml:space` before it.
    preserve: bool,
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    out: String,
    open: Vec<Element<'a>>,
    prefixes: Vec<&'a str>,
    /// The last start tag lacks its `>`: it may become `/>`.
    unclosed: bool,
    /// Text since the last markup.
    run: String,
    /// Whether the text is kept though it is white space.
    significant: bool,
    preserve: bool,
}

type Parsed<T> = Result<T, SqlError>;

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn fail(&self, number: i32, what: &str) -> SqlError {
        let before = &self.text[..self.at];
        let line = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        error(number, what, line, before[start..].encode_utf16().count() + 1)
    }

    fn accept(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn skip_blanks(&mut self) -> bool {
        let rest = self.rest();
        let trimmed = rest.trim_start_matches(is_blank);
        self.at += rest.len() - trimmed.len();
        trimmed.len() < rest.len()
    }

    /// Up to and with `end`; what stands before it.
    fn until(&mut self, end: &str) -> Parsed<&'a str> {
        let rest = self.rest();
        let Some(length) = rest.find(end) else {
            self.at = self.text.len();
            return Err(self.fail(9400, "unexpected end of input"));
        };
        if let Some(at) = rest[..length].find(|c| !is_legal(c)) {
            self.at += at;
            return Err(self.fail(9420, "illegal xml character"));
        }
        self.at += length + end.len();
        Ok(&rest[..length])
    }

    fn name(&mut self) -> Parsed<&'a str> {
        let rest = self.rest();
        if rest.is_empty() {
            return Err(self.fail(9400, "unexpected end of input"));
        }
        if !rest.starts_with(starts_name) {
            return Err(self.fail(9455, "illegal qualified name character"));
        }
        let length = rest.find(|c| !continues_name(c)).unwrap_or(rest.len());
        let name = &rest[..length];
        let parts: Vec<&str> = name.split(':').collect();
        if parts.len() > 2 || parts.iter().any(|part| !part.starts_with(starts_name)) {
            return Err(self.fail(9455, "illegal qualified name character"));
        }
        self.at += length;
        Ok(name)
    }

    fn content(&mut self) -> Parsed<()> {
        self.accept("\u{FEFF}");
        if self.rest().starts_with("<?xml") && self.rest()[5..].starts_with(is_blank) {
            self.until("?>")?;
            self.skip_blanks();
        }
        loop {
            let rest = self.rest();
            if rest.is_empty() {
                self.flush();
                return match self.open.is_empty() {
                    true => Ok(()),
                    false => Err(self.fail(9400, "unexpected end of input")),
                };
            }
            if !rest.starts_with('<') {
                self.characters()?;
            } else if self.accept("<![CDATA[") {
                let text = self.until("]]>")?;
                push_lines(&mut self.run, text);
                self.significant = true;
            } else {
                self.flush();
                self.markup()?;
            }
        }
    }

    fn markup(&mut self) -> Parsed<()> {
        if self.accept("<!--") {
            let text = self.until("-->")?;
            if text.contains("--") || text.ends_with('-') {
                return Err(self.fail(9424, "incorrect comment syntax"));
            }
            self.close_tag();
            self.out.push_str("<!--");
            push_lines(&mut self.out, text);
            self.out.push_str("-->");
        } else if self.rest().starts_with("<!DOCTYPE") {
            return Err(SqlError::new(
                6359,
                16,
                1,
                "Parsing XML with internal subset DTDs not allowed. Use CONVERT with style option 2 to enable limited internal subset DTD support.",
            ));
        } else if self.accept("<?") {
            let name = self.name()?;
            if name.eq_ignore_ascii_case("xml") {
                return Err(self.fail(9438, "text/xmldecl not at the beginning of input"));
            }
            let text = self.until("?>")?;
            self.close_tag();
            self.out.push_str("<?");
            self.out.push_str(name);
            push_lines(&mut self.out, text);
            self.out.push_str("?>");
        } else if self.accept("</") {
            self.end_tag()?;
        } else {
            self.accept("<");
            self.start_tag()?;
        }
        Ok(())
    }

    fn end_tag(&mut self) -> Parsed<()> {
        let name = self.name()?;
        self.skip_blanks();
        let Some(element) = self.open.pop().filter(|element| element.name == name) else {
            return Err(self.fail(9436, "end tag does not match start tag"));
        };
        if !self.accept(">") {
            return Err(self.fail(9412, "'>' expected"));
        }
        if std::mem::take(&mut self.unclosed) {
            self.out.push_str("/>");
        } else {
            self.out.push_str("</");
            self.out.push_str(name);
            self.out.push('>');
        }
        self.prefixes.truncate(element.prefixes);
        self.preserve = element.preserve;
        Ok(())
    }

    fn start_tag(&mut self) -> Parsed<()> {
        let name = self.name()?;
        let element = Element { name, prefixes: self.prefixes.len(), preserve: self.preserve };
        let mut attributes: Vec<(&str, String)> = Vec::new();
        let empty = loop {
            let blank = self.skip_blanks();
            if self.accept("/>") {
                break true;
            }
            if self.accept(">") {
                break false;
            }
            if !blank && !self.rest().is_empty() {
                return Err(self.fail(9410, "whitespace expected"));
            }
            let attribute = self.name()?;
            self.skip_blanks();
            if !self.accept("=") {
                return Err(self.fail(9414, "equal expected"));
            }
            self.skip_blanks();
            let value = self.attribute_value()?;
            if attributes.iter().any(|(known, _)| *known == attribute) {
                return Err(self.fail(9437, "duplicate attribute"));
            }
            if let Some(prefix) = attribute.strip_prefix("xmlns:") {
                self.prefixes.push(prefix);
            }
            if attribute == "xml:space" {
                self.preserve = value == "preserve";
            }
            attributes.push((attribute, value));
        };
        let names = attributes.iter().map(|(attribute, _)| *attribute);
        for prefix in std::iter::once(name).chain(names).filter_map(|name| name.split_once(':')) {
            if !matches!(prefix.0, "xml" | "xmlns") && !self.prefixes.contains(&prefix.0) {
                return Err(self.fail(9459, "undeclared prefix"));
            }
        }
        self.close_tag();
        self.out.push('<');
        self.out.push_str(name);
        for (attribute, value) in &attributes {
            self.out.push(' ');
            self.out.push_str(attribute);
            self.out.push_str("=\"");
            escape(&mut self.out, value, true);
            self.out.push('"');
        }
        if empty {
            self.out.push_str("/>");
            self.prefixes.truncate(element.prefixes);
            self.preserve = element.preserve;
        } else {
            self.unclosed = true;
            self.open.push(element);
        }
        Ok(())
    }

    fn attribute_value(&mut self) -> Parsed<String> {
        let quote = match self.rest().chars().next() {
            Some(quote @ ('"' | '\'')) => quote,
            _ => return Err(self.fail(9413, "A string literal was expected")),
        };
        self.at += 1;
        let mut value = String::new();
        loop {
            let Some(c) = self.rest().chars().next() else {
                return Err(self.fail(9400, "unexpected end of input"));
            };
            match c {
                _ if c == quote => {
                    self.at += 1;
                    return Ok(value);
                }
                '<' => return Err(self.fail(9415, "no '<' in attribute value")),
                '&' => value.push(self.reference()?),
                _ if !is_legal(c) => return Err(self.fail(9420, "illegal xml character")),
                _ => {
                    self.at += c.len_utf8();
                    value.push(if is_blank(c) { ' ' } else { c });
                }
            }
        }
    }

    fn characters(&mut self) -> Parsed<()> {
        loop {
            let rest = self.rest();
            let length =
                rest.find(|c| matches!(c, '<' | '&') || !is_legal(c)).unwrap_or(rest.len());
            if let Some(at) = rest[..length].find("]]>") {
                self.at += at;
                return Err(self.fail(9423, "incorrect CDATA section syntax"));
            }
            push_lines(&mut self.run, &rest[..length]);
            self.at += length;
            match self.rest().chars().next() {
                Some('&') => {
                    let c = self.reference()?;
                    self.run.push(c);
                    self.significant = true;
                }
                Some('<') | None => return Ok(()),
                Some(_) => return Err(self.fail(9420, "illegal xml character")),
            }
        }
    }

    fn reference(&mut self) -> Parsed<char> {
        self.at += 1;
        let rest = self.rest();
        let Some(length) = rest.find(';').filter(|length| *length < 12) else {
            return Err(self.fail(9411, "semicolon expected"));
        };
        let name = &rest[..length];
        let c = match name {
            "amp" => Some('&'),
            "lt" => Some('<'),
            "gt" => Some('>'),
            "quot" => Some('"'),
            "apos" => Some('\''),
            _ => {
                let code = match (name.strip_prefix("#x"), name.strip_prefix('#')) {
                    (Some(hex), _) => u32::from_str_radix(hex, 16).ok(),
                    (None, Some(decimal)) => decimal.parse().ok(),
                    (None, None) => {
                        return Err(self.fail(9448, "well formed check: undeclared entity"));
                    }
                };
                code.and_then(char::from_u32).filter(|c| is_legal(*c))
            }
        };
        let c = c.ok_or_else(|| self.fail(9420, "illegal xml character"))?;
        self.at += length + 1;
        Ok(c)
    }

    /// Writes the `>` that the last start tag lacks.
    fn close_tag(&mut self) {
        if std::mem::take(&mut self.unclosed) {
            self.out.push('>');
        }
    }

    /// Writes the text since the last markup, if it counts.
    fn flush(&mut self) {
        let run = std::mem::take(&mut self.run);
        let kept = std::mem::take(&mut self.significant) || self.preserve;
        if run.is_empty() || (!kept && run.chars().all(is_blank)) {
            return;
        }
        self.close_tag();
        escape(&mut self.out, &run, false);
    }
}

/// Appends text with its ends of lines as XML reads them.
fn push_lines(out: &mut String, text: &str) {
    if text.contains('\r') {
        out.push_str(&text.replace("\r\n", "\n").replace('\r', "\n"));
    } else {
        out.push_str(text);
    }
}

fn escape(out: &mut String, text: &str, attribute: bool) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\r' => out.push_str("&#x0D;"),
            '"' if attribute => out.push_str("&quot;"),
            '\t' if attribute => out.push_str("&#x09;"),
            '\n' if attribute => out.push_str("&#x0A;"),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(text: &str) -> String {
        normalize(text, false).unwrap_or_else(|error| panic!("{text}: {error:?}"))
    }

    fn number(text: &str) -> i32 {
        normalize(text, false).expect_err(text).number
    }

    #[test]
    fn content_is_kept_and_form_is_not() {
        assert_eq!(
            kept(
                "<?xml version='1.0' encoding='utf-16'?>\n<a b = 'x\"y'>\n <c></c> <d> t </d>\n</a>"
            ),
            "<a b=\"x&quot;y\"><c/><d> t </d></a>"
        );
        assert_eq!(kept("<a><![CDATA[ <&> ]]></a>"), "<a> &lt;&amp;&gt; </a>");
        assert_eq!(kept("a &#x41;&amp; <b/>"), "a A&amp; <b/>");
        assert_eq!(
            kept("<a xml:space=\"preserve\"> <b/> </a>"),
            "<a xml:space=\"preserve\"> <b/> </a>"
        );
        assert_eq!(kept("<!-- c --><?p i?><a\r\n/>"), "<!-- c --><?p i?><a/>");
        assert_eq!(kept("<x:a xmlns:x='u'><x:b/></x:a>"), "<x:a xmlns:x=\"u\"><x:b/></x:a>");
        assert_eq!(kept(""), "");
        assert_eq!(normalize("<a> </a>", true).expect("well-formed"), "<a> </a>");
        assert_eq!(kept("<a>\u{1F600}</a>"), "<a>\u{1F600}</a>");
    }

    #[test]
    fn what_is_not_well_formed_is_refused() {
        for (text, wanted) in [
            ("<a>", 9400),
            ("<a></b>", 9436),
            ("<a b=1/>", 9413),
            ("<a b='1' b='2'/>", 9437),
            ("<x:a/>", 9459),
            ("<a>&nbsp;</a>", 9448),
            ("<a>\u{1}</a>", 9420),
            ("<a>&#0;</a>", 9420),
            ("<1/>", 9455),
            ("<a/><?xml version='1.0'?>", 9438),
            ("<!DOCTYPE a []><a/>", 6359),
            ("a ]]> b", 9423),
        ] {
            assert_eq!(number(text), wanted, "{text}");
        }
    }

    #[test]
    fn bytes_are_decoded_as_they_say() {
        assert_eq!(decode(b"\xFF\xFE<\0a\0/\0>\0").expect("UTF-16"), "<a/>");
        assert_eq!(decode("<a>\u{e9}</a>".as_bytes()).expect("UTF-8"), "<a>\u{e9}</a>");
        let latin = b"<?xml version='1.0' encoding='windows-1251'?><a>\xC6</a>";
        assert!(decode(latin).expect("a code page").contains('\u{416}'));
        assert_eq!(decode(b"<a>\xFF</a>").expect_err("not UTF-8").number, 9420);
        assert!(check_unicode_declaration("<?xml version='1.0' encoding='utf-8'?><a/>").is_err());
    }
}
