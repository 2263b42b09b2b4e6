//! T-SQL through sessions.

mod clr_types;
mod collations;
mod constraints;
mod edges;
mod expressions;
mod fixture;
mod queries;
mod session;
mod temporary;
mod types;
mod writes;
