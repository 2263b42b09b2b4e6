//! Runs any number of seeds of the chaos suite, or one again.

use clap::Parser;
use lockstep_testkit::chaos::{self, How, Options, Outcome, What};
use lockstep_testkit::harness::LogKind;

/// Random work, random crashes, and an oracle that watches.
#[derive(Debug, Parser)]
#[command(name = "lockstep-chaos", version)]
struct Arguments {
    /// Run this seed only.
    #[arg(long)]
    seed: Option<u64>,
    /// First of the seeds to run.
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// How many seeds.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// Over Kafka (LOCKSTEP_TEST_KAFKA or a private broker) instead of the embedded log.
    #[arg(long)]
    kafka: bool,
    /// Full loads, instead of changes only.
    #[arg(long)]
    loads: bool,
    /// With the real programs, killed by SIGKILL, instead of services in this process.
    #[arg(long)]
    processes: bool,
    /// Steps of a seed.
    #[arg(long, default_value_t = 3)]
    steps: u32,
    /// Transactions of each session in a step.
    #[arg(long, default_value_t = 12)]
    transactions: u64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let options = Options {
        what: if arguments.loads { What::Loads } else { What::Changes },
        log: if arguments.kafka { LogKind::Kafka } else { LogKind::Embedded },
        how: if arguments.processes { How::Processes } else { How::InProcess },
        steps: arguments.steps,
        transactions: arguments.transactions,
    };
    let (first, count) = match arguments.seed {
        Some(seed) => (seed, 1),
        None => (arguments.first, arguments.seeds),
    };
    let postgres = chaos::postgres()?;
    let mut all = Outcome::default();
    for seed in first..first + count {
        let outcome = chaos::run(seed, options, postgres.clone()).await?;
        println!("seed {seed}: {outcome:?}");
        all = all.and(outcome);
    }
    println!("{count} seeds: {all:?}");
    Ok(())
}
