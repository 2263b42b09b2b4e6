//! Prints the project's figures, each beside the raw limit measured in the same run.

use std::num::NonZeroUsize;

use clap::Parser;
use lockstep_testkit::bench::{self, Options};

/// Measures codec, logs, reading, applying, full loads, latency, idle tables and memory.
#[derive(Debug, Parser)]
#[command(name = "lockstep-bench", version)]
struct Arguments {
    /// How much to measure; 1 is the full size.
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Only the parts whose name contains this: codec, log, read, apply, load, latency,
    /// idle, soak; or one case, as `apply Inserts 10 Group`; or one of those that are run by name
    /// alone: huge, outage.
    #[arg(long)]
    only: Option<String>,
    /// How often each figure of apply is taken; the median is shown.
    #[arg(long, default_value_t = NonZeroUsize::MIN)]
    rounds: NonZeroUsize,
    /// A Kafka broker, `host:port`, to append to.
    #[arg(long, env = "LOCKSTEP_TEST_KAFKA")]
    kafka: Option<String>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Arguments { scale, only, rounds, kafka } = Arguments::parse();
    let options = Options { scale, only, rounds, kafka };
    bench::run(&options).await
}
