//! From where on the target equals the source.
//!
//! Rows of a bracketed table were committed in the source when they were read. The clock is taken after
//! the last of them was, so everything any chunk holds was committed before it. The first closed
//! place of the stream that the source proves to lie after the clock ([`Loader::proves`]), or the
//! commit that carries a signal given after it, has everything before it: once the stream is there,
//! every change that a chunk may be ahead of the stream by has been applied over it.
//!
//! Rows of exact tables are of a frozen position: the stream that has passed the highest of them has
//! passed them all. That position need not be one at which the stream stands; being beyond it is
//! what counts.
//!
//! Before it is said, the source must still show what it had shown when the rows were read: a failover
//! that lost commits may have lost some that rows are of.
//!
//! [`Loader::proves`]: crate::source::load::Loader::proves

use lockstep_common::model::record::Change;
use lockstep_common::{Failure, Position, Value};

use super::state::Load;
use crate::source::Head;
use crate::source::load::{Clock, Loader};

/// How far the proof is.
#[derive(Debug, Default)]
pub enum Proof {
    /// Rows are being read.
    #[default]
    Reading,
    /// The source is being asked for its clock.
    Asking,
    /// The stream has to come to a place after this.
    Awaiting(Moment),
}

/// A moment after the last row was read.
#[derive(Debug, Default)]
pub struct Moment {
    /// The source's clock; none when exact tables need none.
    pub clock: Option<Clock>,
    /// Text that a change of the signal table will carry.
    pub signal: Option<String>,
    /// The transaction that carried it.
    pub signalled: Option<Position>,
}

impl Load {
    /// The position from which the target equals the source, if one of these closed places of the
    /// stream, up to which everything is in the log, shows it.
    pub fn consistent(&self, heads: &[Head], loader: &dyn Loader) -> Option<Position> {
        let Proof::Awaiting(moment) = &self.proof else { return None };
        let frozen = self.frozen_at();
        let beyond = |head: &&Head| frozen.is_none_or(|frozen| head.position >= frozen);
        let mut heads = heads.iter().filter(beyond);
        if !self.has_bracketed() {
            let head = heads.next()?;
            return Some(frozen.unwrap_or(head.position));
        }
        let proves = |head: &&Head| {
            moment.signalled.is_some_and(|signalled| head.position >= signalled)
                || moment.clock.as_ref().is_some_and(|clock| loader.proves(head, clock))
        };
        Some(heads.find(proves)?.position)
    }

    /// Proves that the source still has what it had shown when the rows were read.
    pub async fn recognised(&self, loader: &dyn Loader) -> Result<(), Failure> {
        let mut marks: Vec<_> =
            self.tables.iter().filter_map(|table| table.entry.read_at.as_ref()).collect();
        marks.sort_unstable();
        marks.dedup();
        for mark in marks {
            loader.recognise(mark).await?;
        }
        Ok(())
    }

    /// Looks for the signal in a change at a position.
    pub fn look_for_signal(&mut self, change: &Change<'_>, position: Position) {
        let Proof::Awaiting(moment) = &mut self.proof else { return };
        let Some(signal) = moment.signal.as_deref() else { return };
        let carries =
            |value: &Value<'_>| matches!(value, Value::String(text) if text.contains(signal));
        if moment.signalled.is_none() && change.after.iter().any(carries) {
            moment.signalled = Some(position);
        }
    }

    /// Whether a signal is waited for.
    pub fn awaits_signal(&self) -> bool {
        matches!(&self.proof, Proof::Awaiting(Moment { signal: Some(_), signalled: None, .. }))
    }
}
