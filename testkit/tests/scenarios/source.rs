//! The workloads against the source alone: what the sessions recorded is what the source has.
//! Without this, every other test would compare with a history nobody has checked.

use std::sync::Arc;

use anyhow::Result;
use lockstep_common::Shutdown;
use lockstep_testkit::harness::{LogKind, Pipeline};
use lockstep_testkit::history::{Model, grouped};
use lockstep_testkit::oracle::compare;
use lockstep_testkit::render;
use lockstep_testkit::workload::order_entry::OrderEntry;
use lockstep_testkit::workload::random::RandomWork;
use lockstep_testkit::workload::{self, Run, Workload};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_entry_is_recorded_as_it_happens() {
    recorded_as_it_happens(OrderEntry::new(1), 3, 120).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_work_is_recorded_as_it_happens() {
    for seed in 0..4 {
        recorded_as_it_happens(RandomWork::new(seed, 3), 3, 40).await.unwrap();
    }
}

async fn recorded_as_it_happens<W: Workload>(
    work: W,
    sessions: usize,
    transactions: u64,
) -> Result<()> {
    let mut pipeline = Pipeline::builder(LogKind::Embedded, work.tables()).build().await?;
    let mut filler = pipeline.session();
    workload::populate(&work, 1, &mut filler).await?;
    let run = Run {
        sessions,
        seed: 1,
        rate: None,
        limit: Some(transactions),
        first_session: pipeline.session_numbers(sessions),
    };
    let (source, history) = (pipeline.source().clone(), pipeline.history().clone());
    let tally = pipeline.tally().clone();
    workload::run(Arc::new(work), source, Arc::clone(&history), tally, run, Shutdown::new())
        .await?;
    let newest = pipeline.await_captured_by_source().await?;

    let mut model = Model::new(Arc::clone(&history));
    model.advance(newest);
    let mut source = pipeline.source().connect().await?;
    for (i, table) in history.tables().iter().enumerate() {
        let rows = source.rows(&table.select_sql()).await?;
        let rows: Result<Vec<_>> = rows.iter().map(|row| render::source_row(table, row)).collect();
        let difference = compare(table, &grouped(table, rows?), model.table(i));
        assert!(difference.is_none(), "{}", difference.expect("there is one"));
    }
    println!("{:?}", pipeline.tally());
    Ok(())
}
