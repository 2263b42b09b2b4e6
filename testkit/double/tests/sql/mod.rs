//! T-SQL through sessions.

mod expressions;
mod fixture;
mod queries;
mod writes;
