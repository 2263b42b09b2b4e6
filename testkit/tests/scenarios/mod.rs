//! The scenarios, each over every log.

mod basics;
mod crashes;
mod full_load;
mod lost_log;
mod lost_source;
mod outages;
mod refused;
mod replay;
mod rivals;
mod secrets;
mod source;
mod support;
mod tables;
mod types;
