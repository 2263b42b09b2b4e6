//! Tables that the log does not have: followed in a task without loads, held in one that loads.
//!
//! # Why no table comes into a target without its rows
//!
//! In a task that loads, a table comes into the log by a load and by nothing else. Changes of a table
//! are written only if its newest load entry in the log says so, or if the log has a version of it and
//! no entry at all (a log that was begun by the task `cdc`). Every other captured table is *held*: the
//! source reads nothing of it, and so no target, now or later, can meet a change of it before the
//! begin of a load. `lockstep reload` is what brings it in, beside everything else.
//!
//! A table is held from the moment on that it is seen, be it while capture runs or when it starts, and
//! no attempt ends for it. Three ways lead there:
//!
//! - it gets a capture instance, or a right or an entry of `source.tables` lets it be seen: the log has
//!   neither a version nor a load of it;
//! - it was followed and is not any more, because `source.tables` leaves it out: what the log lacks
//!   from then on is written down as *held* with the first record of the attempt, before the log can go
//!   past a change of it. Should it come back, it is not taken for one that was there all the time;
//! - it was about to be loaded and capture crashed.
//!
//! # What a crash does while one is brought in
//!
//! - Before its version is in the log: nothing has happened.
//! - After it: version and a *held* entry are one log transaction. The next attempt holds it.
//! - After the load's begin: the begin and the entry that replaces the *held* one are one log
//!   transaction. The next attempt follows the table and takes up its load, as every load.
//!
//! Where the table's changes begin to be captured only after the log's end (it was enabled a moment
//! ago), the entry says where. Its rows are read later than that, so nothing before is missed, and the
//! next attempt asks its instance for nothing before.

use lockstep_common::config::Task;
use lockstep_common::model::load::{Handoff, TableLoad, TableStage};
use lockstep_common::{TableId, TableVersion};
use uuid::Uuid;

use crate::source::{Newcomers, Table};

/// What the source is to do with tables that the log does not have.
pub fn expected(task: Task, new_log: bool, loads: &[TableLoad]) -> Newcomers {
    Newcomers {
        hold: task != Task::Cdc,
        new_log,
        held: loads.iter().filter(|load| load.held).map(|load| load.object_id).collect(),
        begins: loads.iter().filter_map(|load| Some((load.object_id, load.begins?))).collect(),
    }
}

/// Entries for tables that the log has and that are not followed any more.
pub fn left(
    task: Task,
    known: &[(TableId, TableVersion)],
    loads: &[TableLoad],
    followed: &[Table],
) -> Vec<TableLoad> {
    if task == Task::Cdc {
        return Vec::new();
    }
    let mut left: Vec<TableLoad> = Vec::new();
    for (id, version) in known {
        let object = version.object_id;
        let said = loads.iter().any(|load| load.object_id == object && load.held)
            || left.iter().any(|load| load.object_id == object);
        if !said && !followed.iter().any(|table| table.version.object_id == object) {
            left.push(held_entry(*id, object));
        }
    }
    left
}

/// That the log does not have all changes of a table.
pub fn held_entry(table: TableId, object_id: i64) -> TableLoad {
    TableLoad {
        load: Uuid::nil(),
        reload: true,
        object_id,
        table,
        handoff: Handoff::default(),
        stage: TableStage::Done,
        next_chunk: 0,
        frontier: None,
        planned: true,
        unfinished: Vec::new(),
        rows: 0,
        bytes: 0,
        from: None,
        read_at: None,
        begins: None,
        held: true,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use lockstep_common::TableName;

    use super::*;

    fn version(object_id: i64) -> TableVersion {
        TableVersion {
            dialect: "test".into(),
            object_id,
            origin: None,
            name: TableName { schema: "dbo".into(), table: format!("t{object_id}") },
            columns: Vec::new(),
            key: Vec::new(),
        }
    }

    #[test]
    fn what_is_not_followed_any_more_is_written_down_once() {
        let known: Vec<_> = (1..=3).map(|n| (version(n).id(), version(n))).collect();
        let followed = [Table { id: version(1).id(), version: Arc::new(version(1)) }];
        let loads = [held_entry(version(2).id(), 2)];
        let left = |task| {
            let left = left(task, &known, &loads, &followed);
            left.iter().map(|load| (load.object_id, load.held)).collect::<Vec<_>>()
        };
        assert_eq!(left(Task::FullLoadAndCdc), [(3, true)]);
        assert_eq!(left(Task::Cdc), []);
        assert_eq!(expected(Task::FullLoad, false, &loads).held, [2].into());
    }
}
