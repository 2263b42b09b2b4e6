//! Fitting a value of a writer's schema to a reader's.
//!
//! apache-avro resolves the branches of a union by what a value looks like, and takes the first
//! record that its fields can be forced into: a value of one kind could silently become another, an
//! empty record swallows everything. Here, as Avro's specification says, a record, enum or fixed fits
//! only one of the same full name, and what has no such place is refused.

use std::collections::HashMap;

use apache_avro::Schema;
use apache_avro::schema::{EnumSchema, NamesRef, RecordSchema, UnionSchema};
use apache_avro::types::Value;

/// Why a value does not fit, in words.
pub(super) struct Misfit(pub(super) String);

fn misfit<T>(what: impl Into<String>) -> Result<T, Misfit> {
    Err(Misfit(what.into()))
}

/// The named types of both schemas.
pub(super) struct Resolver<'s> {
    pub(super) writer: &'s NamesRef<'s>,
    pub(super) reader: &'s NamesRef<'s>,
}

impl Resolver<'_> {
    /// `value`, of schema `writer`, as a value of schema `reader`.
    pub(super) fn resolve(
        &self,
        value: Value,
        writer: &Schema,
        reader: &Schema,
    ) -> Result<Value, Misfit> {
        let writer = dereference(writer, self.writer)?;
        let reader = dereference(reader, self.reader)?;
        match (value, writer, reader) {
            (Value::Union(number, value), Schema::Union(from), Schema::Union(to)) => {
                self.union(number, *value, from, to)
            }
            (Value::Record(fields), Schema::Record(from), Schema::Record(to)) => {
                self.record(fields, from, to)
            }
            (Value::Array(items), Schema::Array(from), Schema::Array(to)) => items
                .into_iter()
                .map(|item| self.resolve(item, &from.items, &to.items))
                .collect::<Result<_, _>>()
                .map(Value::Array),
            (Value::Map(items), Schema::Map(from), Schema::Map(to)) => items
                .into_iter()
                .map(|(key, item)| Ok((key, self.resolve(item, &from.types, &to.types)?)))
                .collect::<Result<HashMap<_, _>, _>>()
                .map(Value::Map),
            (Value::Enum(_, symbol), Schema::Enum(_), Schema::Enum(to)) => enumerated(symbol, to),
            (value @ Value::Fixed(..), Schema::Fixed(from), Schema::Fixed(to))
                if from.name == to.name && from.size == to.size =>
            {
                Ok(value)
            }
            (Value::Int(number), Schema::Int, Schema::Long) => Ok(Value::Long(number.into())),
            (value, from, to) if same_primitive(from, to) => Ok(value),
            (_, from, to) => misfit(format!("a {} where ours has a {}", kind(from), kind(to))),
        }
    }

    fn union(
        &self,
        number: u32,
        value: Value,
        from: &UnionSchema,
        to: &UnionSchema,
    ) -> Result<Value, Misfit> {
        let branch = usize::try_from(number).ok().and_then(|n| from.variants().get(n));
        let Some(branch) = branch else { return misfit("a branch that its union lacks") };
        let fitting = to.variants().iter().position(|own| same_branch(branch, own));
        let Some(place) = fitting else {
            return misfit(format!("a {} where ours has none", kind(branch)));
        };
        let value = self.resolve(value, branch, &to.variants()[place])?;
        let place = u32::try_from(place).expect("a union has few branches");
        Ok(Value::Union(place, Box::new(value)))
    }

    /// Fields by name; what ours lacks is dropped, what the writer lacks takes our default.
    fn record(
        &self,
        fields: Vec<(String, Value)>,
        from: &RecordSchema,
        to: &RecordSchema,
    ) -> Result<Value, Misfit> {
        if from.name != to.name {
            return misfit(format!("a {} where ours has a {}", from.name, to.name));
        }
        let mut given: HashMap<String, Value> = fields.into_iter().collect();
        let mut fitted = Vec::with_capacity(to.fields.len());
        for field in &to.fields {
            let written = from.lookup.get(&field.name).and_then(|n| from.fields.get(*n));
            let value = match (given.remove(&field.name), written) {
                (Some(value), Some(written)) => self
                    .resolve(value, &written.schema, &field.schema)
                    .map_err(|Misfit(what)| Misfit(format!("{}: {what}", field.name)))?,
                _ => default(field.default.as_ref(), &field.schema)
                    .ok_or_else(|| Misfit(format!("{} is absent", field.name)))?,
            };
            fitted.push((field.name.clone(), value));
        }
        Ok(Value::Record(fitted))
    }
}

fn dereference<'s>(schema: &'s Schema, names: &NamesRef<'s>) -> Result<&'s Schema, Misfit> {
    match schema {
        Schema::Ref { name } => names
            .get(name)
            .copied()
            .ok_or_else(|| Misfit(format!("the type {name} is not defined"))),
        schema => Ok(schema),
    }
}

/// A later minor version gives its new fields simple defaults only.
fn default(default: Option<&serde_json::Value>, schema: &Schema) -> Option<Value> {
    Value::try_from(default?.clone()).ok()?.resolve(schema).ok()
}

fn enumerated(symbol: String, to: &EnumSchema) -> Result<Value, Misfit> {
    match to.symbols.iter().position(|own| *own == symbol) {
        Some(n) => Ok(Value::Enum(u32::try_from(n).expect("an enum has few symbols"), symbol)),
        None => misfit(format!("{}.{symbol}, which ours does not have", to.name)),
    }
}

/// Whether a branch of a writer's union is a branch of ours.
fn same_branch(writer: &Schema, reader: &Schema) -> bool {
    match (writer.name(), reader.name()) {
        (Some(writer), Some(reader)) => writer == reader,
        (None, None) => same_primitive(writer, reader),
        _ => false,
    }
}

fn same_primitive(writer: &Schema, reader: &Schema) -> bool {
    matches!(
        (writer, reader),
        (Schema::Null, Schema::Null)
            | (Schema::Boolean, Schema::Boolean)
            | (Schema::Int, Schema::Int)
            | (Schema::Long, Schema::Long)
            | (Schema::Float, Schema::Float)
            | (Schema::Double, Schema::Double)
            | (Schema::Bytes, Schema::Bytes)
            | (Schema::String, Schema::String)
            | (Schema::Array(_), Schema::Array(_))
            | (Schema::Map(_), Schema::Map(_))
    )
}

/// What to call a schema in a message.
fn kind(schema: &Schema) -> String {
    match schema.name() {
        Some(name) => name.name().to_owned(),
        None => schema.to_string().to_lowercase(),
    }
}
