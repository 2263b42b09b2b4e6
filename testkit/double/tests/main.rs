//! The double, from outside.

mod bulk;
mod catalog;
mod cdc;
mod program;
mod script;
mod sql;
mod support;
mod wire;
