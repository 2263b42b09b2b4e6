//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use lockstep_common::service::telemetry::LogFormat;

/// Moves a SQL Server database to PostgreSQL, one source transaction at a time.
#[derive(Debug, Parser)]
#[command(name = "lockstep", version)]
pub(crate) struct Arguments {
    /// Configuration file.
    #[arg(long, short, env = "LOCKSTEP_CONFIG", default_value = "lockstep.toml", global = true)]
    pub(crate) config: PathBuf,
    /// Form of the program's own log lines, on standard error.
    #[arg(long, env = "LOCKSTEP_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text, global = true)]
    pub(crate) log_format: LogFormat,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run capture and every apply of the file in this process.
    Run(RunOptions),
    /// Check every prerequisite and print all failures with their fix.
    Check,
    /// Print transactions from the log.
    Log(LogOptions),
    /// Print what the running services say of themselves.
    Status(StatusOptions),
    /// Show what a full load makes in the target, before anything is made, or what its role needs there.
    Schema(SchemaOptions),
    /// Load one table again while the pipeline runs.
    Reload(ReloadOptions),
}

#[derive(Debug, Args)]
pub(crate) struct SchemaOptions {
    /// Print every statement before and after the load, and as comments what is not made and why.
    #[arg(long, required_unless_present = "grants", conflicts_with = "grants")]
    pub(crate) print: bool,
    /// Print what apply's role needs in the target, for an administrator to run there.
    #[arg(long)]
    pub(crate) grants: bool,
    /// The target, where the file has several.
    #[arg(long, value_name = "NAME")]
    pub(crate) apply: Option<String>,
    /// Major version of the target's PostgreSQL.
    #[arg(long, value_name = "VERSION", default_value_t = 15, value_parser = clap::value_parser!(u32).range(13..=99))]
    pub(crate) target_version: u32,
}

#[derive(Debug, Args)]
pub(crate) struct ReloadOptions {
    /// The source table, as `schema.table`.
    pub(crate) table: String,
}

#[derive(Debug, Args)]
pub(crate) struct RunOptions {
    /// Remove the checkpoint of this apply's target and begin at its configured start. Say it twice
    /// to mean it.
    #[arg(long, value_name = "APPLY")]
    pub(crate) reset: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct LogOptions {
    /// Where to begin: `earliest`, `now`, `offset:N`, `position:P` (from the first transaction after P) or
    /// `time:RFC3339`.
    #[arg(long, default_value = "earliest")]
    pub(crate) from: String,
    /// Records to print at most.
    #[arg(long, short = 'n')]
    pub(crate) limit: Option<u64>,
    /// Wait for more at the end.
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// One JSON object a record, with every value, instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct StatusOptions {
    /// JSON instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_may_be_named_before_or_after_the_command() {
        for words in
            [["-c", "a.toml", "check"], ["check", "-c", "a.toml"], ["check", "--config", "a.toml"]]
        {
            let arguments = Arguments::try_parse_from([&["lockstep"][..], &words].concat());
            assert_eq!(arguments.expect("a command line").config, PathBuf::from("a.toml"));
        }
    }
}
