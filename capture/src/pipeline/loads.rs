//! The pipeline's part in full loads: planning them, taking them up, beginning them when asked.

use std::sync::Arc;

use lockstep_common::load::TableLoad;
use lockstep_common::reload::{Refused, Request};
use lockstep_common::{Failure, Position};
use tracing::info;

use super::{PATIENCE, Service};
use crate::load::{self, Load, Loads};
use crate::output::Output;
use crate::source::Table;

impl Service {
    /// Partitions of the log's snapshot stream.
    pub(super) async fn partitions(&mut self) -> Result<u32, Failure> {
        // The writer has made the streams; one that is not there is not known everywhere yet.
        self.log.snapshot_partitions().await.map_err(|failure| match failure.code {
            "log.no_stream" => Failure::retry("log.not_yet", failure.message),
            _ => failure,
        })
    }

    /// A load of these tables that has not begun.
    pub(super) async fn plan(&mut self, tables: &[Table], reload: bool) -> Result<Load, Failure> {
        let loader = self.source.loader();
        load::begin::plan(loader.as_ref(), tables, self.capture.handoff, reload).await
    }

    /// The loads of the log that have not ended.
    pub(super) async fn resume(
        &mut self,
        entries: Vec<TableLoad>,
        tables: &[Table],
    ) -> Result<Vec<Load>, Failure> {
        let loader = self.source.loader();
        load::begin::resume(loader.as_ref(), entries, tables).await
    }

    /// Stores the definitions of a load's tables, where the log does not have them as they are.
    pub(super) async fn define(&mut self, load: &Load, output: &mut Output) -> Result<(), Failure> {
        let tables: Vec<Table> = load.tables.iter().map(|table| table.table.clone()).collect();
        let loader = self.source.loader();
        let new = load::begin::definitions(loader.as_ref(), &tables, &self.definitions).await?;
        output.publish_definitions(new.clone()).await?;
        let known = new.into_iter().map(|definition| (definition.table, Arc::new(definition)));
        self.definitions.extend(known);
        Ok(())
    }

    /// Does what there is to do for the loads.
    pub(super) async fn load(
        &mut self,
        output: &mut Output,
        loads: &mut Loads,
        cursor: Position,
    ) -> Result<(), Failure> {
        let mut done = Ok(());
        if loads.wants_freeze() {
            done = loads.read_frozen(output, &self.shutdown).await;
        }
        if done.is_ok() {
            done = loads.step(output).await;
        }
        match done {
            Err(failure) => Err(self.explain(cursor, failure).await),
            Ok(()) => Ok(()),
        }
    }

    /// Begins to load a table again, and answers when that is in the log for good.
    pub(super) async fn reload(
        &mut self,
        output: &mut Output,
        loads: &mut Loads,
        cursor: Position,
        request: Request,
    ) -> Result<(), Failure> {
        let asked = request.table().to_owned();
        let Some(table) = named(self.source.tables(cursor), &asked) else {
            request.answer(Err(Refused::UnknownTable(asked)));
            return Ok(());
        };
        if loads.is_loading(table.version.object_id) {
            request.answer(Err(Refused::AlreadyLoading(asked)));
            return Ok(());
        }
        let tables = [table];
        let planning = tokio::time::timeout(PATIENCE, self.plan(&tables, true));
        let planned = loads.beside(output, planning).await?.unwrap_or_else(|_| Err(too_slow()));
        let begun = match planned {
            Ok(load) => {
                let defined = tokio::time::timeout(PATIENCE, self.define(&load, output)).await;
                defined.unwrap_or_else(|_| Err(too_slow())).map(|()| load)
            }
            Err(failure) => Err(failure),
        };
        match begun {
            Ok(load) => {
                let id = load.id;
                loads.begin(load, output).await?;
                info!(table = asked, load = %id, "loading the table again");
                request.answer(Ok(id));
                Ok(())
            }
            Err(failure) => {
                request.answer(Err(Refused::Failed(failure.to_string())));
                // A failure that stops the rest as well shows there.
                if failure.code.starts_with("source.") { Ok(()) } else { Err(failure) }
            }
        }
    }
}

/// The stream waits while a load is planned.
fn too_slow() -> Failure {
    let seconds = PATIENCE.as_secs();
    Failure::retry(
        "source.busy",
        format!("the source takes more than {seconds} s to describe the table"),
    )
}

/// The table with this name: as it is written, else whatever its case, if that is only one.
fn named(mut tables: Vec<Table>, name: &str) -> Option<Table> {
    let is =
        |table: &Table, same: fn(&str, &str) -> bool| same(&table.version.name.to_string(), name);
    if let Some(i) = tables.iter().position(|table| is(table, |a, b| a == b)) {
        return Some(tables.swap_remove(i));
    }
    tables.retain(|table| is(table, |a, b| a.to_lowercase() == b.to_lowercase()));
    if tables.len() == 1 { tables.pop() } else { None }
}

/// A task that loads once met a log that was never loaded into.
pub(super) fn loads_too_late() -> Failure {
    Failure::halt(
        "config.task",
        "pipeline.task is full_load, and the log holds changes already and no load",
        "begin a new pipeline (new log); or follow the changes (task \"cdc\" or \
         \"full_load_and_cdc\") and load single tables with `lockstep reload`",
    )
}
