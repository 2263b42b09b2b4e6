//! The changes of one unit, wherever they are held, into the commit in hand.

use bytes::Bytes;
use lockstep_common::codec::FragmentReader;
use lockstep_common::service::status::Counts;
use lockstep_common::{Failure, TableId};

use super::{Broken, Writer};
use crate::content::{Content, damaged};
use crate::destination::Session;
use crate::report::count;
use crate::unit::{Body, Unit, UnitKind};

impl<S: Session> Writer<'_, S> {
    /// Writes the changes of a unit; gives their counts.
    pub(super) async fn changes(&mut self, unit: &Unit) -> Result<Vec<(TableId, Counts)>, Broken> {
        let mut content = Content::default();
        let mut counts = Vec::new();
        if unit.kind != UnitKind::Transaction {
            return Ok(counts);
        }
        match &unit.body {
            Body::Progress => return Ok(counts),
            Body::Memory(fragments) => {
                for payload in fragments.iter() {
                    self.fragment(unit, payload, &mut content, &mut counts).await?;
                }
            }
            Body::Spooled => {
                let mut from = unit.first_offset;
                while from < unit.mark.next_offset {
                    let records = self.context.buffer.records(from..unit.mark.next_offset)?;
                    let Some((last, _)) = records.last() else { break };
                    from = last + 1;
                    for (_, payload) in &records {
                        self.fragment(unit, payload, &mut content, &mut counts).await?;
                    }
                }
            }
        }
        content.finish(unit.mark.position)?;
        Ok(counts)
    }

    async fn fragment(
        &mut self,
        unit: &Unit,
        payload: &Bytes,
        content: &mut Content,
        counts: &mut Vec<(TableId, Counts)>,
    ) -> Result<(), Broken> {
        let position = unit.mark.position;
        let reader = FragmentReader::new(payload).map_err(Failure::from)?;
        let mut reader =
            reader.ok_or_else(|| damaged(position, "a record of it is no fragment"))?;
        content.fragment(position, reader.header().position, reader.header().fragment)?;
        while let Some(part) = reader.part().map_err(Failure::from)? {
            content.part(&part);
        }
        while let Some(change) = reader.change().map_err(Failure::from)? {
            let index = content.changes();
            content.change(position, change)?;
            if !self.session.knows(change.table) {
                self.prepare(change.table).await?;
            }
            if self.session.lanes() > 1 && self.session.must_wait(change, index)? {
                self.quiesce().await?;
            }
            if self.session.change(change, index)? {
                count(table_counts(counts, change.table), change.operation);
            }
            if self.session.is_gathered() {
                self.settle()?;
                self.commit_next();
                self.session.flush().await?;
            }
        }
        while let Some(total) = reader.total().map_err(Failure::from)? {
            content.total(total);
        }
        Ok(())
    }

    /// Gets a table version from the log and its table in the target ready.
    async fn prepare(&mut self, id: TableId) -> Result<(), Failure> {
        let version = self.context.schemas.get().await?.table(id).await?;
        self.context.progress.name(id, &version.name.to_string());
        self.session.prepare(id, &version).await?;
        if self.session.is_held(id) {
            self.context.progress.held(self.session.held().await?);
        }
        Ok(())
    }
}

/// The counts of a table, from zero on.
pub(super) fn table_counts(counts: &mut Vec<(TableId, Counts)>, id: TableId) -> &mut Counts {
    let index = match counts.iter().position(|(table, _)| *table == id) {
        Some(index) => index,
        None => {
            counts.push((id, Counts::default()));
            counts.len() - 1
        }
    };
    &mut counts[index].1
}
