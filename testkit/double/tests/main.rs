//! The double, from outside.

mod catalog;
mod cdc;
mod program;
mod script;
mod sql;
mod support;
mod wire;
