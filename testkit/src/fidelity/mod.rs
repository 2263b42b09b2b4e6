//! Every type with values that are known beforehand.
//!
//! A value is drawn as what it is (digits, units, bytes, a day), and from that two texts are made:
//! the T-SQL literal that writes it, and what PostgreSQL must show for it. Neither is made from the
//! other, and no decoder of anybody stands between: a value that arrives as shown went through the
//! server, the log and the target unharmed. The rules by which a value may change
//! (`docs/types.md`) are written out once more in [`value`].

#[cfg(test)]
mod documents;
pub mod kind;
pub mod table;
pub mod value;

pub use kind::Kind;
pub use table::Table;
pub use value::{Mapping, Value};
