//! T-SQL through sessions.

mod edges;
mod expressions;
mod fixture;
mod queries;
mod writes;
