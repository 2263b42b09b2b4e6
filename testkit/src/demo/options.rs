//! The demo's command line.

use std::time::Duration;

use clap::Parser;

/// Shows Lockstep at work: a SQL Server database that is in use is copied to PostgreSQL, with all its
/// indexes and constraints, and then followed, transaction by transaction, through crashes of every
/// process and an outage of PostgreSQL; at the end both are proved equal.
///
/// With LOCKSTEP_SOURCE_URL (mssql://user:password@host:port/database) and LOCKSTEP_TARGET_URL
/// (postgres://user:password@host:port/database) it runs against real servers; the demo drops and
/// makes its own tables there. The target's certificate is verified, unless the URL ends in
/// `?sslmode=disable`, `prefer` or `require`. Exit code 0 when everything was proved, 1 when not.
#[derive(Clone, Debug, Parser)]
#[command(name = "lockstep-demo", version)]
pub struct Options {
    /// Separate capture and apply processes over a Kafka broker instead of one process over the
    /// embedded log.
    #[arg(long)]
    pub kafka: bool,
    /// Rows of the largest table that the full load copies.
    #[arg(long, default_value_t = 2_000_000, value_parser = clap::value_parser!(u64).range(100..))]
    pub rows: u64,
    /// Seconds of workload after the full load.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(5..))]
    pub duration: u64,
    /// Makes the workload's decisions repeatable.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Warehouses.
    #[arg(long, default_value_t = 2)]
    pub scale: u32,
    /// Source transactions a second, at most.
    #[arg(long, default_value_t = 200.0)]
    pub rate: f64,
    /// Sessions on the source at once.
    #[arg(long, default_value_t = 4)]
    pub sessions: usize,
    /// A short run: 40,000 rows, 12 seconds of workload on one warehouse.
    #[arg(long, conflicts_with_all = ["duration", "scale", "rows"])]
    pub fast: bool,
    /// A source other than the double.
    #[arg(long, env = "LOCKSTEP_SOURCE_URL", hide_env_values = true)]
    pub source_url: Option<String>,
    /// A target other than a private PostgreSQL.
    #[arg(long, env = "LOCKSTEP_TARGET_URL", hide_env_values = true)]
    pub target_url: Option<String>,
}

impl Options {
    /// The options of this process.
    pub fn from_command_line() -> Self {
        let mut options = Options::parse();
        if options.fast {
            options.duration = 12;
            options.scale = 1;
            options.rows = 40_000;
        }
        options
    }

    /// How long the workload runs.
    pub fn duration(&self) -> Duration {
        Duration::from_secs(self.duration)
    }

    /// How long PostgreSQL stays down.
    pub fn outage(&self) -> Duration {
        self.duration() / 8
    }
}
