//! What a writer's schema may be. Whoever may write the log chooses it, and reading by it is
//! apache-avro's work: a type within itself would read as deep as the payload likes, an array of items
//! without bytes would make as many values as its count claims.

use std::collections::HashMap;

use apache_avro::Schema;
use apache_avro::schema::{NamesRef, ResolvedSchema};

/// Most bytes of a schema: ours has some ten thousand.
const TEXT: usize = 256 << 10;

/// How deep types, and brackets of the text, may nest: ours do ten deep.
const DEPTH: usize = 48;

/// Before it is parsed.
pub(super) fn text(json: &str) -> Result<(), String> {
    if json.len() > TEXT {
        return Err(format!("it has {} bytes, and {TEXT} are the most", json.len()));
    }
    let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => depth += 1,
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH {
            return Err(format!("it nests deeper than {DEPTH}"));
        }
    }
    Ok(())
}

/// After it is parsed.
pub(super) fn types(schema: &Schema) -> Result<(), String> {
    let names = ResolvedSchema::new(schema).map_err(|error| error.to_string())?;
    let mut walk = Walk { names: names.get_names(), open: Vec::new(), done: HashMap::new() };
    walk.visit(schema, false, 0).map(drop)
}

struct Walk<'s> {
    names: &'s NamesRef<'s>,
    /// The records that the place is in.
    open: Vec<String>,
    /// How deep each record nests that was seen to its end.
    done: HashMap<String, usize>,
}

impl Walk<'_> {
    /// How deep a type nests that stands at `depth`. `branch` says that a union's number stands before
    /// the value, so that it has a byte.
    fn visit(&mut self, schema: &Schema, branch: bool, depth: usize) -> Result<usize, String> {
        let empty = match schema {
            Schema::Null => true,
            Schema::Fixed(fixed) => fixed.size == 0,
            Schema::Record(record) => record.fields.is_empty(),
            _ => false,
        };
        if empty && !branch {
            return Err("a value without bytes stands outside a union".into());
        }
        let within = |height: usize| match depth + height > DEPTH {
            true => Err(format!("its types nest deeper than {DEPTH}")),
            false => Ok(height),
        };
        within(1)?;
        let below = match schema {
            Schema::Ref { name } => {
                let named = *self.names.get(name).ok_or("a type is not defined")?;
                return self.visit(named, branch, depth);
            }
            Schema::Array(array) => self.visit(&array.items, false, depth + 1)?,
            Schema::Map(map) => self.visit(&map.types, false, depth + 1)?,
            Schema::Union(union) => self.deepest(union.variants().iter(), true, depth)?,
            Schema::Record(record) => {
                let name = record.name.to_string();
                if self.open.contains(&name) {
                    return Err(format!("the type {name} is within itself"));
                }
                if let Some(height) = self.done.get(&name) {
                    return within(*height);
                }
                self.open.push(name.clone());
                let fields = record.fields.iter().map(|field| &field.schema);
                let below = self.deepest(fields, false, depth)?;
                self.open.pop();
                self.done.insert(name, below + 1);
                below
            }
            _ => 0,
        };
        Ok(below + 1)
    }

    fn deepest<'s>(
        &mut self,
        mut parts: impl Iterator<Item = &'s Schema>,
        branch: bool,
        depth: usize,
    ) -> Result<usize, String> {
        parts.try_fold(0, |deepest, part| Ok(deepest.max(self.visit(part, branch, depth + 1)?)))
    }
}
