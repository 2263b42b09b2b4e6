//! The log's wire format and the HTTP endpoints, tested from outside.

mod arbitrary;
mod chunk;
mod codec;
mod compatibility;
mod corruption;
mod entry;
mod errors;
mod fragment;
mod fuzz;
mod hostile;
mod http;
mod oracle;
