//! Capture as a whole: over a scripted source, where the log's side is to be proved, and over the
//! SQL Server double, where the source's side is. Every test reads the log as an apply would.

mod contents;
mod disk;
mod load_bed;
mod scripted;
mod server;
mod service;

mod altered;
mod crashes;
mod halts;
mod load_definitions;
mod load_failures;
mod load_frozen;
mod load_live;
mod load_locking;
mod load_places;
mod load_ranges;
mod loads;
mod locked;
mod masks;
mod modules;
mod order;
mod prerequisites;
mod published;
mod quiet;
mod records;
mod room;
mod secured;
mod seen;
mod switch;
mod types;
mod waits;
mod windows;
