//! The log's wire format, tested from outside.

mod arbitrary;
mod codec;
mod compatibility;
mod corruption;
mod entry;
mod fragment;
mod oracle;
