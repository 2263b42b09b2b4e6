//! Commits that several units share.
//!
//! Readers of the target see the state after some source transaction, and never one within: a commit
//! ends where a unit ends, and its checkpoint is its last unit's. That some of the states between are
//! not seen is what the configuration agrees to; they are whole all the same. Units only join while the
//! next one is there already, so that nothing waits for company: at rest each has a commit of its own.
//!
//! What a failure does to them: the target rolls all of them back together, and the next connection
//! finds the checkpoint before the first. When one of them is refused, by the target or before it is
//! sent, it is not known whose fault it is, or the ones before it would have no commit: then all go
//! again one at a time, and the conflict policy hears of the one that fails alone.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use lockstep_common::config;
use lockstep_common::service::status::Counts;
use lockstep_common::{Failure, TableId};

use super::changes::table_counts;
use super::{InFlight, Stopped, Writer};
use crate::destination::Session;
use crate::failpoints;
use crate::report;
use crate::unit::{Body, Mark, Place, Unit, UnitKind};

/// Bytes of a commit after which sharing it more saves nothing.
const GROUP_BYTES: u64 = 1 << 20;

/// How many source transactions may share a commit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sharing {
    most: NonZeroU32,
    time: Duration,
}

impl Sharing {
    pub(crate) fn new(config: &config::Apply) -> Self {
        Sharing { most: config.group_commit, time: config.group_commit_time }
    }
}

/// The units of one commit.
pub(super) struct Group {
    /// Of the last one.
    pub(super) mark: Mark,
    /// Of the first one.
    pub(super) first_offset: u64,
    pub(super) weight: u64,
    pub(super) units: u32,
    /// Transactions among them that were not set aside.
    pub(super) transactions: u64,
    /// The only one was set aside.
    pub(super) set_aside: bool,
    pub(super) counts: Vec<(TableId, Counts)>,
    began: Instant,
    /// No other may join.
    complete: bool,
}

impl<S: Session> Writer<'_, S> {
    /// Whether a unit may join the open commit.
    pub(super) fn may_join(&self, unit: &Unit) -> bool {
        let large = matches!(unit.body, Body::Spooled);
        // A wait for chunks must find no lock held.
        unit.kind != UnitKind::Load && !large && !self.session.awaits_chunks()
    }

    /// Enters a unit that has been written into the open commit, which it may have begun.
    pub(super) fn join(&mut self, unit: &Unit, set_aside: bool, counts: &[(TableId, Counts)]) {
        let sharing = self.context.sharing;
        let alone = set_aside || self.is_careful() || matches!(unit.body, Body::Spooled);
        let session = &self.session;
        let group = self.open.get_or_insert_with(|| Group {
            mark: unit.mark,
            first_offset: unit.first_offset,
            weight: 0,
            units: 0,
            transactions: 0,
            set_aside,
            counts: Vec::new(),
            began: Instant::now(),
            complete: alone || sharing.most.get() == 1 || !session.may_share(),
        });
        group.mark = unit.mark;
        group.weight += unit.weight();
        group.units += 1;
        group.transactions += u64::from(!set_aside && unit.kind == UnitKind::Transaction);
        for (table, more) in counts {
            report::add(table_counts(&mut group.counts, *table), more);
        }
        group.complete |= group.units >= sharing.most.get()
            || group.weight >= GROUP_BYTES
            || group.began.elapsed() >= sharing.time;
        (self.reached, self.current) = (Some(unit.mark.position), None);
    }

    /// Whether the open commit takes no further unit.
    pub(super) fn is_complete(&self) -> bool {
        self.open.as_ref().is_some_and(|group| group.complete)
    }

    /// Writes the open commit's checkpoint behind it, if there is one.
    pub(super) async fn close(&mut self) -> Result<(), Stopped> {
        if self.open.is_none() {
            return Ok(());
        }
        if let Err(trouble) = self.session.end_statements() {
            return Err(self.abandon(trouble.into()).await);
        }
        if let Err(crash) = self.context.fail.hit(failpoints::STATEMENTS_SENT) {
            // On the wire they have to be.
            let _ = self.session.flush().await;
            self.session.written().await;
            return Err(Failure::from(crash).into());
        }
        let Some(group) = self.open.take() else { return Ok(()) };
        self.in_flight_bytes += group.weight;
        self.in_flight.push_back(InFlight { group, lane: self.lane, committing: None });
        self.commit_next();
        let several = self.session.lanes() > 1;
        if several || self.session.is_gathered() { self.flush().await } else { Ok(()) }
    }

    /// Writes the checkpoint of the next commit whose turn has come; `false` when it is nobody's. On one connection that is the one
    /// just closed: it stands behind those before it. Among several only the oldest in flight may
    /// commit, so that the order of commits is the source's and the checkpoint's chain holds.
    pub(super) fn commit_next(&mut self) -> bool {
        let next = match self.session.lanes() {
            1 => self.in_flight.back(),
            _ => self.in_flight.front(),
        };
        let Some(InFlight { group, lane, committing: None }) = next else { return false };
        let (lane, mark) = (*lane, group.mark);
        let flushed = self.is_flush_due();
        self.session.commit(lane, &mark, flushed);
        let next = match self.session.lanes() {
            1 => self.in_flight.back_mut(),
            _ => self.in_flight.front_mut(),
        };
        if let Some(next) = next {
            next.committing = Some(flushed);
        }
        true
    }

    /// Up to where units are in question when the target refuses a statement: when the oldest commit
    /// in flight has several, or when several connections have one.
    pub(super) fn is_unclear(&self) -> Option<Place> {
        let (first, last) = (self.in_flight.front()?, self.in_flight.back()?);
        let several = self.session.lanes() > 1 && (self.in_flight.len() > 1 || self.open.is_some());
        if several {
            let open = self.open.as_ref().map(|group| group.mark.place());
            let current = self.current.map(|(mark, _)| mark.place());
            return [Some(last.group.mark.place()), open, current].into_iter().flatten().max();
        }
        (first.group.units > 1).then(|| first.group.mark.place())
    }
}
