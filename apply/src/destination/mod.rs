//! Targets. PostgreSQL is the first; a target is attached to (which fences whoever wrote before),
//! takes transactions as runs of changes with a checkpoint in each commit, and confirms them in order.

pub(crate) mod postgres;
