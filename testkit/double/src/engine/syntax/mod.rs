//! T-SQL text to syntax tree.
//!
//! The parser is the double's own rather than a general SQL parser's T-SQL dialect, because the
//! first duty here is never to give a wrong answer: this tree holds exactly what the engine
//! executes, so whatever the parser does not know is a syntax error (102 or 156) by construction
//! and cannot be parsed and then overlooked. T-SQL also differs where general parsers are weakest:
//! statements without separators, operator precedence, `SELECT @v = …`, hints, `EXEC`.

pub mod ast;
mod backup;
mod bulk;
mod control;
mod cursor;
mod database;
mod ddl;
mod dml;
mod expression;
mod grouping;
mod index;
mod keywords;
mod lexer;
mod merge;
mod module;
pub mod normal;
mod parser;
mod query;
mod security;
mod sequence;
mod types;
mod window;

pub use parser::{
    parse_batch, parse_condition, parse_declarations, parse_name, parse_scalar, quotes_names,
    variables,
};
