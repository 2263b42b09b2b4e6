//! T-SQL over [`storage`](crate::storage): sessions, parsing, binding, execution.
//!
//! ```text
//!  request ─► session ─► syntax (text to tree, kept parsed) ─► batch (control flow, TRY, SET …)
//!                                                                │ a statement
//!                                                                ▼
//!             statement ─► bind (names, types, rights, access paths) ─► plan (pulled row by row)
//! ```
//!
//! The rule above all others: never a wrong answer. The parser knows what is executed and nothing
//! else; whatever is not covered is error 102 (or SQL Server's own number for it), and never
//! ignored. What is covered is listed in `docs/double.md`.

mod batch;
mod bind;
mod calendar;
mod cascade;
mod catalog;
pub mod collation;
pub(crate) mod convert;
mod cursor;
mod decimal;
mod env;
mod expr;
mod fault;
mod functions;
mod hierarchy;
mod mask;
mod parsed;
mod plan;
mod references;
mod security;
mod server;
mod session;
mod spatial;
mod statement;
pub mod syntax;
mod table_variable;
pub(crate) mod vector;
mod write;
mod xml;

pub use server::{Config, Server};
pub use session::{Canceller, Session};
