//! Change data capture, statement by statement as the documents have it.

mod content;
mod faults;
mod fixture;
mod instances;
mod jobs;
mod retention;
mod stress;
