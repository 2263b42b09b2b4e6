//! Loads that came to nothing, of tables that the log has a later load of.
//!
//! What ends a load for good (rows that the log has lost, that the target cannot hold, that have no place
//! there) would end it again at every start, however often the table is loaded anew behind it: the later
//! load lies behind the record that halts. So before apply halts for such a reason it looks whether the
//! log has one, and gives up the earlier one for it: the table is held until then, as every table is that
//! lacks its rows.

use std::sync::Arc;

use lockstep_common::codec::{self, Kind};
use lockstep_common::model::load::LoadMarker;
use lockstep_common::model::record::Body;
use lockstep_common::{Code, Failure, TableId};
use lockstep_log::{Batch, Seek, Stream};

use super::Writer;
use crate::destination::Session;
use crate::feed::unreadable;
use crate::foreign::Foreign;
use crate::unit::Mark;

/// Whether a load has come to nothing by this.
pub(super) fn ends_a_load(code: Code) -> bool {
    matches!(
        code,
        Code::ApplyLoadLost
            | Code::ApplyLoadDamaged
            | Code::ApplyLoadGap
            | Code::ApplyLoadValue
            | Code::ApplyLoadRefused
            | Code::ApplyLoadUnplaced
            | Code::ApplyLoadIncomplete
            | Code::ApplyLoadRestart
            | Code::ApplyLoadReshaped
    )
}

impl<S: Session> Writer<'_, S> {
    /// Gives up loads of tables that the log has a later load of, behind the checkpoint `at`; the failure
    /// with which the next session begins, if there was one.
    ///
    /// # Errors
    /// When target or log are away.
    pub(super) async fn load_again(
        &mut self,
        at: Option<&Mark>,
    ) -> Result<Option<Failure>, Failure> {
        let unfinished = self.session.unfinished();
        if unfinished.is_empty() || !self.session.holds() {
            return Ok(None);
        }
        let mut again = Vec::new();
        for id in self.later_loads(at).await? {
            again.push(self.context.schemas.get().await?.table(id).await?.name.clone());
        }
        let mut given_up = Vec::new();
        for (load, id, handoff) in unfinished {
            let described = self.describe(id, handoff).await?;
            if again.contains(&described.version.name) {
                given_up.push(described.version.name.to_string());
                self.session.give_up_for_later(load, described).await?;
            }
        }
        Ok((!given_up.is_empty()).then(|| {
            let what = format!("the log has a later load of {}", given_up.join(", "));
            Failure::new(
                Code::ApplyLoadAgain,
                format!("{what}: the one that failed is passed over"),
            )
        }))
    }

    /// Tables of loads that begin behind the checkpoint and that this target does not know.
    async fn later_loads(&self, at: Option<&Mark>) -> Result<Vec<TableId>, Failure> {
        let log = &self.context.log;
        let mut reader = log.reader(Stream::Transactions).await?;
        let first = reader.bounds().await?.first;
        let from = at.map_or(first, |mark| mark.next_offset.max(first));
        reader.seek(Seek::Offset(from)).await?;
        let mut foreign = Foreign::new(Arc::clone(log));
        let mut tables = Vec::new();
        while let Batch::Items(items) = reader.read().await? {
            for item in items {
                let offset = item.offset;
                let Some((payload, header)) = foreign.read(item.payload).await? else { continue };
                if header.kind != Kind::Marker {
                    continue;
                }
                let record = codec::decode(&payload)?;
                let Body::Marker { name } = &record.body else { continue };
                let marker = LoadMarker::parse(name, &record.attributes);
                let marker = marker.map_err(|error| unreadable(offset, &error))?;
                if let Some(LoadMarker::Begin { load, tables: of, .. }) = marker
                    && !self.session.knows_load(load)
                {
                    tables.extend(of.into_iter().map(|(id, _)| id));
                }
            }
        }
        Ok(tables)
    }
}
