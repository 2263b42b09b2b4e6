//! Tables that are not followed: those that wait to be loaded, and how one of them is let in.
//!
//! Why a table is held is argued in `crate::newcomers`. Here nothing is read of it, and no window waits
//! for it. One that is let in is followed from the reader's place on; where its instance begins later,
//! from there on: its rows are read after that.

use std::sync::Arc;

use lockstep_common::Code;
use lockstep_common::service::status::HeldTable;
use lockstep_common::{Failure, Position, TableId};

use super::choice::{self, Candidate};
use super::connection::Lease;
use super::instance::{self, Instance, Standing};
use super::outlook::Outlook;
use super::{Followed, SqlServer, select};
use crate::source::Admitted;

/// Takes note of the tables among `instances` that are not followed.
pub fn note(source: &mut SqlServer, instances: &[Instance]) {
    let mut held: Vec<Instance> = Vec::new();
    for instance in instances {
        let id = instance.table_id;
        let waits = source.newcomers.hold || source.newcomers.held.contains(&i64::from(id));
        if waits
            && !source.followed.iter().any(|followed| followed.instance.table_id == id)
            && !held.iter().any(|other| other.table_id == id)
        {
            held.push(instance.clone());
        }
    }
    source.held = held;
}

/// The tables that are held, for people.
pub fn list(source: &SqlServer) -> Vec<HeldTable> {
    source.held.iter().map(|instance| held(source, instance)).collect()
}

fn held(source: &SqlServer, instance: &Instance) -> HeldTable {
    let reason = match source.newcomers.held.contains(&i64::from(instance.table_id)) {
        true => "the log does not have all of its changes: it was not followed for a while",
        false => "its capture began after the load did: its rows are not in the log",
    };
    HeldTable::until_loaded(instance.table.to_string(), reason)
}

/// Follows a held table after `after`.
///
/// # Errors
/// `Retry` when the capture job has not come to its instance; as [`Followed::new`].
pub async fn admit(
    source: &mut SqlServer,
    lease: &mut Lease,
    name: &str,
    after: Position,
) -> Result<Option<Admitted>, Failure> {
    let cursor = source.lsn(&after)?;
    let now = select::wanted(source, lease).await?;
    note(source, &now);
    let Some(table_id) = named(source, lease, name).await? else { return Ok(None) };
    let own = now.into_iter().filter(|instance| instance.table_id == table_id).collect();
    let most = source.max_value_bytes;
    let chosen = choice::choose(lease, source.timeline, own, cursor, &[], most).await?.pop();
    let Some(Candidate { instance, followed, .. }) = chosen else { return Ok(None) };
    let begins = match instance::standing(instance.start_lsn, cursor, true) {
        Standing::Begins(at) => Some(at),
        Standing::Covers | Standing::Gap(..) => None,
        Standing::NotReady => {
            return Err(Failure::new(
                Code::SourceInstanceNotYet,
                format!(
                    "the capture job has not come to instance {} of {} yet: ask again in a moment (is \
                     SQL Server Agent running?)",
                    instance.name, instance.table
                ),
            ));
        }
    };
    let followed = Followed { begins, ..followed? };
    let table = followed.table.clone();
    source.followed.push(Arc::new(followed));
    source.forget_plans();
    let object_id = table.version.object_id;
    source.names.insert(object_id, table.version.name.clone());
    source.newcomers.held.remove(&object_id);
    let begins = begins.map(|lsn| lsn.position(source.timeline));
    source.newcomers.begins.extend(begins.map(|position| (object_id, position)));
    source.held.retain(|held| held.table_id != table_id);
    Ok(Some(Admitted { table, begins }))
}

/// The held table with this name: as it is written, else as the server finds it.
async fn named(source: &SqlServer, lease: &mut Lease, name: &str) -> Result<Option<i32>, Failure> {
    let held = |id: i32| source.held.iter().any(|instance| instance.table_id == id);
    if let Some(exact) = source.held.iter().find(|held| held.table.to_string() == name) {
        return Ok(Some(exact.table_id));
    }
    Ok(select::resolve(lease, name).await?.into_iter().find(|id| held(*id)))
}

impl SqlServer {
    /// What was planned and asked does not hold any more: the followed tables are others.
    pub(super) fn forget_plans(&mut self) {
        self.plan = None;
        self.outlook = Outlook::new(self.followed.len());
    }

    /// Holds a table again that was admitted.
    pub(super) fn dismiss_table(&mut self, id: TableId) {
        let Some(at) = self.followed.iter().position(|followed| followed.table.id == id) else {
            return;
        };
        let followed = self.followed.remove(at);
        self.forget_plans();
        let object_id = followed.table.version.object_id;
        self.names.remove(&object_id);
        self.newcomers.begins.remove(&object_id);
        self.newcomers.held.insert(object_id);
        self.held.push(followed.instance.clone());
    }
}
