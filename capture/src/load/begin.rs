//! How a load begins, and how one that a crash interrupted is taken up.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use lockstep_common::Code;
use lockstep_common::model::definition::Definition;
use lockstep_common::model::load::{Handoff, TableLoad, TableStage};
use lockstep_common::{Failure, TableId};
use tracing::info;
use uuid::Uuid;

use super::proof::Proof;
use super::state::{Load, TableState};
use super::work::wall_clock;
use crate::source::Table;
use crate::source::load::{Loader, Survey};

/// A load of these tables that has not begun: nothing of it is in the log.
///
/// # Errors
/// As [`Loader::survey`].
pub async fn plan(
    loader: &dyn Loader,
    tables: &[Table],
    handoff: Handoff,
    reload: bool,
) -> Result<Load, Failure> {
    let id = Uuid::new_v4();
    let surveys = survey(loader, tables).await?;
    let state = |table: &Table| {
        let survey = &surveys[&table.id];
        let handoff = match &survey.unranged {
            None => handoff,
            Some(why) => {
                if handoff == Handoff::Bracketed {
                    info!(table = %table.version.name, why, "the table is read whole, frozen");
                }
                Handoff::Exact
            }
        };
        let entry = TableLoad {
            load: id,
            reload,
            object_id: table.version.object_id,
            table: table.id,
            handoff,
            stage: TableStage::Waiting,
            next_chunk: 0,
            frontier: None,
            planned: false,
            unfinished: Vec::new(),
            rows: 0,
            bytes: 0,
            from: None,
            read_at: None,
            begins: None,
            held: false,
        };
        TableState::new(table.clone(), entry, survey)
    };
    Ok(load(id, reload, tables.iter().map(state).collect()))
}

/// The loads that the log says have not ended.
///
/// # Errors
/// As [`Loader::survey`] and [`Loader::recognise`]; `Halt` when a table of one is no longer followed.
pub async fn resume(
    loader: &dyn Loader,
    entries: Vec<TableLoad>,
    tables: &[Table],
) -> Result<Vec<Load>, Failure> {
    let mut loads: BTreeMap<Uuid, Vec<(Table, TableLoad)>> = BTreeMap::new();
    for mut entry in entries.into_iter().filter(|entry| entry.stage != TableStage::Done) {
        if let Some(mark) = &entry.read_at {
            entry.read_at = Some(loader.recognise(mark).await?);
        }
        let Some(table) = tables.iter().find(|table| table.id == entry.table) else {
            return Err(Failure::new(
                Code::SourceLoad,
                format!(
                    "a load has begun of the table with object id {}, which is no longer followed",
                    entry.object_id
                ),
            )
            .remedy(
                "put the table back into source.tables, with its capture instance, or begin a new \
                 pipeline (new log)",
            ));
        };
        loads.entry(entry.load).or_default().push((table.clone(), entry));
    }
    let of_loads: Vec<Table> = loads.values().flatten().map(|(table, _)| table.clone()).collect();
    if of_loads.is_empty() {
        return Ok(Vec::new());
    }
    let surveys = survey(loader, &of_loads).await?;
    let resumed = loads.into_iter().map(|(id, tables)| {
        let reload = tables.iter().any(|(_, entry)| entry.reload);
        let state = |(table, entry): (Table, TableLoad)| {
            let survey = &surveys[&table.id];
            TableState::new(table, entry, survey)
        };
        load(id, reload, tables.into_iter().map(state).collect())
    });
    Ok(resumed.collect())
}

/// The largest first: then the last ones are small, and the readers end together.
fn load(id: Uuid, reload: bool, mut tables: Vec<TableState>) -> Load {
    tables.sort_by_key(|table| std::cmp::Reverse(table.expected));
    Load { id, reload, tables, proof: Proof::default(), started: wall_clock() }
}

async fn survey(
    loader: &dyn Loader,
    tables: &[Table],
) -> Result<HashMap<TableId, Survey>, Failure> {
    let surveys = loader.survey(tables).await?;
    let surveys: HashMap<_, _> = surveys.into_iter().map(|survey| (survey.table, survey)).collect();
    match tables.iter().find(|table| !surveys.contains_key(&table.id)) {
        None => Ok(surveys),
        Some(table) => Err(Failure::new(
            Code::SourceLoad,
            format!("the source has nothing to say of table {}", table.version.name),
        )
        .remedy("see that the login may read it: `lockstep check`")),
    }
}

/// Definitions of tables that the log does not have as they are now.
///
/// # Errors
/// As [`Loader::definitions`].
pub async fn definitions(
    loader: &dyn Loader,
    tables: &[Table],
    known: &HashMap<TableId, Arc<Definition>>,
) -> Result<Vec<Definition>, Failure> {
    if tables.is_empty() {
        return Ok(Vec::new());
    }
    let definitions = loader.definitions(tables).await?;
    let differs = |definition: &Definition| {
        known.get(&definition.table).is_none_or(|known| **known != *definition)
    };
    Ok(definitions.into_iter().filter(differs).collect())
}
