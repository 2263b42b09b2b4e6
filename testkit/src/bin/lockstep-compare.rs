//! Compares Lockstep with Debezium and its JDBC sink; `scripts/compare` brings the jars.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use lockstep_testkit::compare::{self, Options};

/// Runs both over the same double, PostgreSQL, Kafka and work, one after the other.
#[derive(Debug, Parser)]
#[command(name = "lockstep-compare", version)]
struct Arguments {
    /// Transactions (of 5 to 10 changes) that wait when a system is started.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..))]
    transactions: u64,
    /// Seconds of work at a steady rate after that.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Transactions a second of that work.
    #[arg(long, default_value_t = 200.0)]
    rate: f64,
    /// A share of both, such as 0.01.
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Milliseconds between polls of an idle source, for both.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    poll: u64,
    /// Settings of Debezium to try, all if none is named: defaults, batches, reduction, flat,
    /// tasks, unnest.
    #[arg(long = "setting")]
    settings: Vec<String>,
    /// Directory of the jars of Kafka Connect and Debezium; without it only Lockstep is run.
    #[arg(long)]
    jars: Option<PathBuf>,
    /// Only say it when Debezium does not work; what Lockstep does wrong stays an error.
    #[arg(long)]
    peer_may_fail: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let arguments = Arguments::parse();
    compare::run(&Options {
        transactions: scaled(arguments.transactions, arguments.scale),
        seconds: scaled(arguments.seconds, arguments.scale),
        rate: arguments.rate,
        poll: Duration::from_millis(arguments.poll),
        settings: arguments.settings,
        jars: arguments.jars,
        peer_may_fail: arguments.peer_may_fail,
    })
    .await
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small positive")]
fn scaled(full: u64, scale: f64) -> u64 {
    ((full as f64 * scale) as u64).max(1)
}
