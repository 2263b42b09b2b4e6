//! The scenarios, each over every log.

mod basics;
mod source;
