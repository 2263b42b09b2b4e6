//! The double, from outside.

mod catalog;
mod cdc;
mod sql;
mod program;
mod support;
mod wire;
