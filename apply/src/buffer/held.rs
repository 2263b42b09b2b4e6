//! What the buffer holds where. Knows of the disk only what is said to be there.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::spool::{Contents, Spooled, Tally};
use crate::unit::{Body, Mark, Place, Unit};

#[derive(Default)]
pub(super) struct Held {
    /// None until the first unit of a target without checkpoint is flushed.
    pub(super) base: Option<Mark>,
    /// Position and offset up to which units are complete here.
    pub(super) end: Option<Mark>,
    pub(super) disk: Disk,
    /// Units behind those on disk; the first `handed` of them have been given out.
    pub(super) memory: VecDeque<Unit>,
    pub(super) handed: usize,
    pub(super) memory_bytes: u64,
    pub(super) pending: Pending,
    /// The place that a log which had lost its end was joined at again: as the target's checkpoint has
    /// it, and as it is in the log now.
    pub(super) renumbered: Option<(Place, Place)>,
    /// Nothing more will come.
    pub(super) closed: bool,
    /// The log has nothing more now.
    pub(super) caught_up: bool,
}

/// Units on disk, by their tallies: trimmed ≤ flushed ≤ given ≤ last.
#[derive(Default)]
pub(super) struct Disk {
    /// Of what is not there any more.
    pub(super) trimmed: Tally,
    /// Of what the target has flushed.
    pub(super) flushed: Tally,
    /// Of what has been given out.
    pub(super) given: Tally,
    /// Of all.
    pub(super) last: Tally,
    /// First offset of the next unit to give out, while there is one.
    pub(super) next: Option<u64>,
    /// Units read but not given out.
    pub(super) read: VecDeque<Spooled>,
    /// Units given out and not known to be flushed: where they end, and the tally there.
    pub(super) unflushed: VecDeque<(Place, Tally)>,
}

/// Fragments of the transaction that is not complete.
#[derive(Default)]
pub(super) struct Pending {
    pub(super) records: Vec<(u64, Bytes)>,
    /// Of `records`.
    pub(super) bytes: u64,
    /// First offset and bytes of what is on disk of it already, ahead of `records`.
    pub(super) spooled: Option<(u64, u64)>,
}

/// What goes to disk at once.
pub(super) struct Load {
    pub(super) records: Vec<(u64, Bytes)>,
    pub(super) units: Vec<Spooled>,
}

impl Held {
    /// The mark with the offset that its place has in the log now.
    pub(super) fn renumber(&self, mark: &Mark) -> Mark {
        match self.renumbered {
            Some((before, (_, now))) if mark.place() == before => {
                Mark { next_offset: now, ..*mark }
            }
            _ => *mark,
        }
    }
}

impl Pending {
    pub(super) fn total(&self) -> u64 {
        self.bytes + self.spooled.map_or(0, |(_, bytes)| bytes)
    }

    pub(super) fn push(&mut self, offset: u64, payload: Bytes) {
        self.bytes += payload.len() as u64;
        self.records.push((offset, payload));
    }

    /// The disk has its records.
    pub(super) fn moved(&mut self) {
        let Some((first, _)) = self.records.first() else { return };
        let (_, spooled) = self.spooled.get_or_insert((*first, 0));
        *spooled += std::mem::take(&mut self.bytes);
        self.records.clear();
    }
}

impl Disk {
    /// With what a spool held when it was opened.
    pub(super) fn new(contents: &Contents) -> Self {
        let Contents { passed, last, next, .. } = *contents;
        Disk { trimmed: passed, flushed: passed, given: passed, last, next, ..Disk::default() }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.last.weight.saturating_sub(self.trimmed.weight)
    }

    /// Number of units not given out.
    pub(super) fn waiting(&self) -> u64 {
        self.last.units.saturating_sub(self.given.units)
    }

    pub(super) fn is_given(&self) -> bool {
        self.next.is_none() && self.read.is_empty()
    }

    /// One more unit, which has been given out already or waits.
    pub(super) fn add(&mut self, spooled: &Spooled, given: bool) {
        self.last = spooled.tally;
        if given {
            self.give(spooled);
        } else if self.next.is_none() {
            self.next = Some(spooled.unit.first_offset);
        }
    }

    /// That unit is given out.
    pub(super) fn give(&mut self, spooled: &Spooled) {
        self.given = spooled.tally;
        self.unflushed.push_back((spooled.unit.mark.place(), spooled.tally));
    }

    /// The target has flushed everything up to `place`.
    pub(super) fn flushed(&mut self, place: Place) {
        while let Some((at, tally)) = self.unflushed.front().copied()
            && at <= place
        {
            self.unflushed.pop_front();
            self.flushed = tally;
        }
    }

    /// Nothing has been given out but what is up to `place`, where the tally is `given`; `next` is the
    /// unit behind it.
    pub(super) fn rewind(&mut self, place: Place, given: Tally, next: Option<u64>) {
        self.read.clear();
        self.unflushed.clear();
        if given.units > self.flushed.units {
            self.unflushed.push_back((place, given));
        }
        (self.given, self.next) = (given, next);
    }
}

impl Held {
    /// With what a spool held when it was opened.
    pub(super) fn new(contents: Option<&Contents>) -> Self {
        Held {
            base: contents.map(|c| c.base),
            end: contents.map(|c| c.end),
            disk: contents.map(Disk::new).unwrap_or_default(),
            ..Held::default()
        }
    }

    /// The next units in memory for the disk, with their records: about `most` bytes of them, but one
    /// at least.
    pub(super) fn load(&self, most: u64) -> Load {
        let mut load = Load { records: Vec::new(), units: Vec::new() };
        let (mut bytes, mut tally) = (0, self.disk.last);
        for unit in &self.memory {
            if bytes > 0 && bytes + unit.weight() > most {
                break;
            }
            bytes += unit.weight();
            tally = tally.with(unit);
            if let Body::Memory(fragments) = &unit.body {
                // Offsets within a unit only have to rise: fragments of one unit are neighbours.
                load.records.extend((unit.first_offset..).zip(fragments.iter().cloned()));
            }
            let body =
                if matches!(unit.body, Body::Progress) { Body::Progress } else { Body::Spooled };
            load.units.push(Spooled { unit: Unit { body, ..unit.clone() }, tally });
        }
        load
    }

    /// The disk has those units.
    pub(super) fn moved(&mut self, units: &[Spooled]) {
        for spooled in units {
            self.memory.pop_front();
            self.memory_bytes -= spooled.unit.weight();
            self.disk.add(spooled, self.handed > 0);
            self.handed = self.handed.saturating_sub(1);
        }
    }
}
