//! LIKE: `%`, `_`, `[a-f]`, `[^a-f]`, under the collation. Trailing blanks of the value count
//! only for Unicode strings; those of the pattern always do.

use crate::engine::collation::Collation;
use crate::{SqlError, Value};

enum Item {
    /// `%`
    Many,
    /// `_`
    One,
    /// A character.
    Exactly(u16),
    /// `[…]` or `[^…]`: ranges.
    Set(Vec<(u16, u16)>, bool),
}

/// Whether the value matches; UNKNOWN if an operand is NULL.
///
/// # Errors
/// 506 for an escape that is not one character.
pub fn matches(
    value: &Value,
    pattern: &Value,
    escape: Option<&Value>,
) -> Result<Option<bool>, SqlError> {
    if escape.is_some_and(Value::is_null) {
        return Ok(None);
    }
    let label = value.label().with(pattern.label());
    let (Some(text), Some(pattern)) = (value.units(), pattern.units()) else {
        return Ok(None);
    };
    let escape = match escape.and_then(Value::units) {
        Some(units) => match *units {
            [unit] => Some(unit),
            _ => {
                return Err(SqlError::new(
                    506,
                    16,
                    1,
                    format!(
                        "The invalid escape character \"{}\" was specified in a LIKE predicate.",
                        String::from_utf16_lossy(&units)
                    ),
                ));
            }
        },
        None => None,
    };
    let rule = label.collation();
    let Some(items) = compile(&pattern, escape) else {
        return Ok(Some(false));
    };
    let mut text: &[u16] = &text;
    if run(&items, text, rule) {
        return Ok(Some(true));
    }
    // A code-page value matches without its trailing blanks, too.
    if matches!(value, Value::String(_)) {
        while let [rest @ .., 0x20] = text {
            text = rest;
            if run(&items, text, rule) {
                return Ok(Some(true));
            }
        }
    }
    Ok(Some(false))
}

/// `None` for a pattern that matches nothing (an open bracket that never closes).
fn compile(pattern: &[u16], escape: Option<u16>) -> Option<Vec<Item>> {
    let mut items = Vec::new();
    let mut at = 0;
    while let Some(unit) = pattern.get(at).copied() {
        at += 1;
        if Some(unit) == escape {
            items.push(Item::Exactly(*pattern.get(at)?));
            at += 1;
            continue;
        }
        items.push(match unit {
            0x25 => Item::Many,
            0x5F => Item::One,
            0x5B => {
                let (set, next) = compile_set(pattern, at, escape)?;
                at = next;
                set
            }
            other => Item::Exactly(other),
        });
    }
    Some(items)
}

fn compile_set(pattern: &[u16], mut at: usize, escape: Option<u16>) -> Option<(Item, usize)> {
    let negated = pattern.get(at) == Some(&0x5E);
    if negated {
        at += 1;
    }
    let mut ranges = Vec::new();
    loop {
        let mut unit = *pattern.get(at)?;
        at += 1;
        if unit == 0x5D {
            return Some((Item::Set(ranges, negated), at));
        }
        if Some(unit) == escape {
            unit = *pattern.get(at)?;
            at += 1;
        }
        let is_range =
            pattern.get(at) == Some(&0x2D) && pattern.get(at + 1).is_some_and(|u| *u != 0x5D);
        if is_range {
            ranges.push((unit, pattern[at + 1]));
            at += 2;
        } else {
            ranges.push((unit, unit));
        }
    }
}

fn run(items: &[Item], text: &[u16], rule: Collation) -> bool {
    let (mut item, mut at) = (0, 0);
    // Where to go on after the last `%` takes one more character.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        match items.get(item) {
            Some(Item::Many) => {
                retry = Some((item + 1, at));
                item += 1;
                continue;
            }
            Some(single) if text.get(at).is_some_and(|unit| accepts(single, *unit, rule)) => {
                item += 1;
                at += 1;
                continue;
            }
            Some(_) => {}
            None if at == text.len() => return true,
            None => {}
        }
        match &mut retry {
            Some((resume, taken)) if *taken < text.len() => {
                *taken += 1;
                item = *resume;
                at = *taken;
            }
            _ => return false,
        }
    }
}

fn accepts(item: &Item, unit: u16, rule: Collation) -> bool {
    match item {
        Item::Many => false,
        Item::One => true,
        Item::Exactly(expected) => rule.same_char(*expected, unit),
        Item::Set(ranges, negated) => {
            let inside = ranges.iter().any(|(low, high)| {
                rule.compare_char(*low, unit).is_le() && rule.compare_char(unit, *high).is_le()
            });
            inside != *negated
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn like(value: &str, pattern: &str) -> bool {
        matches(&Value::text(value), &Value::text(pattern), None)
            .expect("no escape")
            .expect("no NULL")
    }

    #[test]
    fn wildcards() {
        assert!(like("Hello", "h%o"));
        assert!(like("Hello", "_e[k-m]%"));
        assert!(!like("Hello", "[^h]%"));
        assert!(like("a%b", "a[%]b"));
        assert!(like("aXbXc", "%x%c"));
        assert!(!like("abc", "ab"));
        assert!(like("", "%"));
        assert!(!like("a ", "a"));
        let padded = matches(&Value::ansi("a "), &Value::ansi("a"), None);
        assert_eq!(padded.expect("valid"), Some(true));
    }

    #[test]
    fn escape() {
        let result = matches(&Value::text("5%"), &Value::text("5!%"), Some(&Value::text("!")));
        assert_eq!(result.expect("valid"), Some(true));
    }
}
