//! T-SQL through sessions.

mod captured;
mod clr_types;
mod collations;
mod constraints;
mod cursors;
mod describe;
mod edges;
mod expressions;
mod fixture;
mod keeping;
mod large_values;
mod locking_reads;
mod masking;
mod merge;
mod modules;
mod old;
mod policies;
mod properties;
mod queries;
mod sequences;
mod session;
mod switches;
mod temporary;
mod types;
mod windows;
mod writes;
