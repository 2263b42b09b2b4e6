//! The pipeline's part in full loads: planning them, taking them up, beginning them when asked.

use std::sync::Arc;

use lockstep_common::Code;
use lockstep_common::failure::code::Group;
use lockstep_common::model::load::TableLoad;
use lockstep_common::service::reload::{Refused, Request};
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
            Code::LogNoStream => Failure::new(Code::LogNotYet, failure.message),
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

    /// Begins to load a table, again or for the first time, and answers when that is in the log for good.
    pub(super) async fn reload(
        &mut self,
        output: &mut Output,
        loads: &mut Loads,
        cursor: Position,
        request: Request,
    ) -> Result<(), Failure> {
        let asked = request.table().to_owned();
        let followed = named(self.source.tables(cursor), &asked);
        let admitted = match &followed {
            Some(_) => Ok(None),
            None => loads.beside(output, self.source.admit(&asked, output.position())).await?,
        };
        let (table, begins, held) = match (followed, admitted) {
            (Some(table), _) => (table, None, false),
            (None, Ok(Some(admitted))) => (admitted.table, admitted.begins, true),
            (None, Ok(None)) => {
                request.answer(Err(Refused::UnknownTable(asked)));
                return Ok(());
            }
            (None, Err(failure)) => return refuse(request, failure),
        };
        if loads.is_loading(table.version.object_id) {
            request.answer(Err(Refused::AlreadyLoading(asked)));
            return Ok(());
        }
        let planning =
            tokio::time::timeout(PATIENCE, self.plan(std::slice::from_ref(&table), true));
        let planned = loads.beside(output, planning).await?.unwrap_or_else(|_| Err(too_slow()));
        let begun = match planned {
            Ok(load) => {
                let entering = self.enter(load, &table, begins, held, output);
                let entered = tokio::time::timeout(PATIENCE, entering).await;
                entered.unwrap_or_else(|_| Err(too_slow()))
            }
            Err(failure) => Err(failure),
        };
        match begun {
            Ok(load) => {
                let id = load.id;
                loads.begin(load, output).await?;
                self.status.held(self.source.held());
                info!(table = asked, load = %id, "loading the table again");
                request.answer(Ok(id));
                Ok(())
            }
            Err(failure) => {
                if held {
                    self.source.dismiss(table.id);
                }
                refuse(request, failure)
            }
        }
    }

    /// Puts into the log what must be there before a load begins.
    async fn enter(
        &mut self,
        mut load: Load,
        table: &Table,
        begins: Option<Position>,
        held: bool,
        output: &mut Output,
    ) -> Result<Load, Failure> {
        for state in &mut load.tables {
            state.entry.begins = begins;
        }
        if held {
            output.publish_held(table).await?;
        }
        self.define(&load, output).await?;
        Ok(load)
    }
}

/// Says that a load could not begin.
///
/// # Errors
/// A failure that is not the source's.
fn refuse(request: Request, failure: Failure) -> Result<(), Failure> {
    request.answer(Err(Refused::Failed(failure.to_string())));
    // A failure that stops the rest as well shows there.
    if failure.code.group() == Group::Source { Ok(()) } else { Err(failure) }
}

/// The stream waits while a load is planned.
fn too_slow() -> Failure {
    let seconds = PATIENCE.as_secs();
    Failure::new(
        Code::SourceBusy,
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
    Failure::new(
        Code::ConfigTask,
        "pipeline.task is full_load, and the log holds changes already and no load",
    )
    .remedy(
        "begin a new pipeline (new log); or follow the changes (task \"cdc\" or \
         \"full_load_and_cdc\") and load single tables with `lockstep reload`",
    )
}
