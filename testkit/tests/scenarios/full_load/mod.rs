//! Full loads: databases that hold rows already, and go on while they are copied.

mod constraints;
mod outages;
mod reload;
mod targets;
mod tasks;
mod work;

use std::sync::Arc;

use anyhow::Result;
use lockstep_common::config::Task;
use lockstep_testkit::harness::{LogKind, Pipeline, PipelineBuilder};
use lockstep_testkit::shape::{Table, Type, column, nullable};
use lockstep_testkit::workload::random::RandomWork;
use lockstep_testkit::workload::{self, Workload};

/// A pipeline that loads `tables` in small chunks, with several readers and loaders.
fn loading(log: LogKind, tables: Vec<Table>) -> PipelineBuilder {
    Pipeline::builder(log, tables)
        .task(Task::FullLoadAndCdc)
        .capture(|capture| {
            capture.chunk_rows = 10;
            capture.load_readers = 4;
        })
        .apply(|apply| apply.load_connections = 3)
}

/// The same for a workload's tables, with the rows in them that it begins with.
async fn filled(
    work: RandomWork,
    seed: u64,
    builder: impl FnOnce(Vec<Table>) -> PipelineBuilder,
) -> Result<(Pipeline, Arc<RandomWork>)> {
    let builder = builder(work.tables()).capture(|capture| capture.chunk_rows = 25);
    let mut pipeline = builder.build().await?;
    let mut filler = pipeline.session();
    workload::populate(&work, seed, &mut filler).await?;
    Ok((pipeline, Arc::new(work)))
}

/// One table of many short rows.
fn many() -> Vec<Table> {
    let columns = vec![
        column("id", Type::Int),
        column("v", Type::Int),
        nullable("note", Type::NVarChar(4000)),
    ];
    vec![Table::keyed("items", 1, columns)]
}
