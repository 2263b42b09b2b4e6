//! The syntax of `@captured_column_list`.

/// Splits `a, [b,c], "d"`.
pub(super) fn column_list(list: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut rest = list.trim();
    loop {
        let name;
        let quote = match rest.chars().next()? {
            '[' => Some(']'),
            '"' => Some('"'),
            _ => None,
        };
        if let Some(quote) = quote {
            (name, rest) = quoted(&rest[1..], quote)?;
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            name = rest[..end].trim().to_owned();
            rest = &rest[end..];
        }
        if name.is_empty() {
            return None;
        }
        names.push(name);
        rest = rest.trim_start();
        if rest.is_empty() {
            return Some(names);
        }
        rest = rest.strip_prefix(',')?.trim_start();
    }
}

/// A quoted name up to its closing quote (doubled ones stand for one), and what follows.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c != quote {
            name.push(c);
        } else if chars.peek().is_some_and(|(_, next)| *next == quote) {
            name.push(c);
            chars.next();
        } else {
            return Some((name, &text[at + 1..]));
        }
    }
    None
}
