//! Pipelines whose tables hold rows before they come.

use std::sync::Arc;

use anyhow::Result;
use lockstep_common::config::{Handoff, Task};
use lockstep_servers::Postgres;
use rand::Rng;
use rand::rngs::StdRng;

use super::SESSIONS;
use crate::harness::{LogKind, Pipeline};
use crate::workload::Workload;
use crate::workload::random::RandomWork;

/// A pipeline that will load, its settings drawn: chunks of a few rows, so that there are many.
pub(super) async fn pipeline(
    seed: u64,
    log: LogKind,
    postgres: &Arc<Postgres>,
    rng: &mut StdRng,
) -> Result<(Pipeline, RandomWork)> {
    let work = RandomWork::filled(seed, SESSIONS, 30, 48);
    let mut builder = Pipeline::builder(log, work.tables())
        .task(Task::FullLoadAndCdc)
        .postgres(Arc::clone(postgres));
    // Without one, the source's own commits have to prove where the load is consistent.
    if rng.random_ratio(2, 3) {
        builder = builder.signal();
    }
    let exact = rng.random_ratio(1, 4);
    let (chunk_rows, readers) = (rng.random_range(4..14), rng.random_range(1..=4));
    let connections = rng.random_range(1..=3);
    let builder = builder.capture(|capture| {
        capture.handoff = if exact { Handoff::Exact } else { Handoff::Bracketed };
        capture.chunk_rows = chunk_rows;
        capture.load_readers = readers;
    });
    let mut pipeline = builder.build().await?;
    pipeline.change_apply("target", |apply| apply.load_connections = connections)?;
    Ok((pipeline, work))
}
