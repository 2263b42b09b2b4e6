//! Values that a variable, which is text, can give as well as a file.
//!
//! Numbers and booleans within the tables of the file are read from text by the library. What it
//! cannot know is read here: lists and tables, and fields of `[log]`.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{DeserializeOwned, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A list or a table, or text that holds one as TOML writes it: `["dbo.a", "dbo.b"]`.
pub(super) fn toml<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    deserializer.deserialize_any(Toml(PhantomData))
}

struct Toml<T>(PhantomData<T>);

#[derive(Deserialize)]
struct Holder<T> {
    value: T,
}

impl<'de, T: DeserializeOwned> Visitor<'de> for Toml<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list or a table")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        // The reader's own words would hold the text, which may be a secret.
        let refused = |_| E::custom("is not a list or table as TOML writes it");
        toml::from_str::<Holder<T>>(&format!("value = {text}"))
            .map(|holder| holder.value)
            .map_err(refused)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<T, A::Error> {
        T::deserialize(SeqAccessDeserializer::new(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, items: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(items))
    }
}
