//! Chaos: a hundred seeds over the embedded log, ten over Kafka, ten with real programs; and of full
//! loads sixteen, four and four.

use std::sync::Arc;

use lockstep_testkit::chaos::{self, How, Options, Outcome, What};
use lockstep_testkit::harness::LogKind;

/// Runs seeds one after another and prints what they did; the first failure names its seed.
async fn seeds(seeds: std::ops::Range<u64>, options: Options) {
    let postgres = chaos::postgres().unwrap();
    let mut all = Outcome::default();
    for seed in seeds.clone() {
        let outcome = chaos::run(seed, options, Arc::clone(&postgres)).await;
        all = all.and(outcome.unwrap_or_else(|error| panic!("seed {seed}: {error:#}")));
    }
    println!("seeds {seeds:?} over {:?}, {:?}: {all:?}", options.log, options.how);
    assert!(all.crashes > 0, "chaos without a crash tests nothing");
}

const SMALL: Options = Options {
    what: What::Changes,
    log: LogKind::Embedded,
    how: How::InProcess,
    steps: 2,
    transactions: 8,
};

const LOADS: Options = Options { what: What::Loads, ..SMALL };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_seeds_over_the_embedded_log() {
    seeds(1..101, SMALL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_seeds_over_kafka() {
    seeds(1001..1011, Options { log: LogKind::Kafka, ..SMALL }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_seeds_with_real_programs() {
    let real = Options { how: How::Processes, ..SMALL };
    seeds(2001..2008, real).await;
    seeds(2101..2104, Options { log: LogKind::Kafka, ..real }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_loads_over_the_embedded_log() {
    seeds(3001..3017, LOADS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_loads_over_kafka() {
    seeds(4001..4005, Options { log: LogKind::Kafka, ..LOADS }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_loads_with_real_programs() {
    let real = Options { how: How::Processes, ..LOADS };
    seeds(5001..5004, real).await;
    seeds(5101..5102, Options { log: LogKind::Kafka, ..real }).await;
}
