use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use uuid::Uuid;

use super::*;
use crate::unit::Place;

fn at(n: u64) -> Position {
    Position::new(1, &n.to_be_bytes()).expect("eight bytes fit")
}

fn completed(n: u64) -> Completed {
    let mark = Mark { log_id: Uuid::nil(), position: at(n), next_offset: n + 1, time: 0 };
    Completed { kind: UnitKind::Transaction, mark, after: at(n - 1), first_offset: n }
}

#[test]
fn what_the_disk_refuses_is_neither_lost_nor_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    let spool = Spool::read_only(directory.path());
    let limits = Limits { memory: 1500, disk: 1 << 20 };
    let buffer = Buffer::new(spool, None, limits, FailPoints::default());
    let payload = || Bytes::from(vec![7; 1000]);
    buffer.complete(&completed(1), (1, payload())).unwrap();
    let failure = buffer.complete(&completed(2), (2, payload())).unwrap_err();
    assert_eq!(failure.code.as_str(), "apply.spool");
    assert_eq!(buffer.end(), Some(completed(1).mark));
    assert_eq!(buffer.levels().units, 1);
    assert_eq!(buffer.take().unwrap().map(|unit| unit.mark), Some(completed(1).mark));
    assert!(buffer.is_drained());
}

#[tokio::test]
async fn offsets_are_given_again_only_when_the_target_has_everything() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, contents) = Spool::open(directory.path()).unwrap();
    let limits = Limits { memory: 1500, disk: 1 << 20 };
    let buffer = Buffer::new(spool, contents, limits, FailPoints::default());
    buffer.reset(Some(completed(6).mark)).unwrap();
    for n in 7..=9 {
        buffer.complete(&completed(n), (n, Bytes::from(vec![7; 1000]))).unwrap();
    }
    let mut waiting = Box::pin(buffer.renumber(2));
    for n in 7..=9 {
        assert!(poll_once(&mut waiting).is_none(), "unit {n} is not in the target yet");
        assert_eq!(buffer.take().unwrap().map(|unit| unit.mark), Some(completed(n).mark));
        buffer.flushed(&completed(n).mark).unwrap();
    }
    waiting.await.unwrap();
    let next = Completed { first_offset: 2, ..completed(10) };
    let next = Completed { mark: Mark { next_offset: 3, ..next.mark }, ..next };
    buffer.complete(&next, (2, Bytes::from_static(b"10"))).unwrap();
    // The target's checkpoint has the old offset.
    assert!(buffer.rewind(Some(&completed(9).mark)).unwrap());
    assert_eq!(buffer.take().unwrap().map(|unit| unit.mark), Some(next.mark));
    assert!(buffer.take().unwrap().is_none());
}

/// The outcome, if it is there without waiting.
fn poll_once<T>(future: &mut std::pin::Pin<Box<impl Future<Output = T>>>) -> Option<T> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(value) => Some(value),
        std::task::Poll::Pending => None,
    }
}

/// A log of transactions, each of some fragments; offsets have holes, as a log's have.
struct Log {
    units: Vec<Logged>,
}

struct Logged {
    completed: Completed,
    records: Vec<(u64, Bytes)>,
}

impl Logged {
    fn place(&self) -> Place {
        self.completed.mark.place()
    }
}

impl Log {
    fn new(random: &mut StdRng, count: u64) -> Self {
        let mut offset = random.random_range(0..5);
        let units = (1..=count).map(|n| {
            let progress = random.random_ratio(1, 8);
            let fragments = if progress { 1 } else { random.random_range(1..=5) };
            let first_offset = offset;
            let records: Vec<_> = (0..fragments)
                .map(|_| {
                    let size = random.random_range(1..600);
                    let record = (offset, Bytes::from(vec![random.random(); size]));
                    offset += random.random_range(1..3);
                    record
                })
                .collect();
            let next_offset = records.last().expect("at least one").0 + 1;
            let mark = Mark { log_id: Uuid::nil(), position: at(n), next_offset, time: 0 };
            let kind = if progress { UnitKind::Progress } else { UnitKind::Transaction };
            let completed = Completed { kind, mark, after: at(n - 1), first_offset };
            Logged { completed, records }
        });
        Log { units: units.collect() }
    }
}

/// The buffer beside what it should say: units are numbers of the log's.
struct Bench<'a> {
    log: &'a Log,
    path: &'a std::path::Path,
    limits: Limits,
    buffer: Buffer,
    /// So many are complete, given out, and flushed.
    completed: usize,
    given: usize,
    flushed: usize,
}

impl<'a> Bench<'a> {
    fn new(log: &'a Log, path: &'a std::path::Path, limits: Limits) -> Self {
        let (spool, contents) = Spool::open(path).unwrap();
        let buffer = Buffer::new(spool, contents, limits, FailPoints::default());
        let base = Mark { position: at(0), next_offset: 0, ..log.units[0].completed.mark };
        buffer.reset(Some(base)).unwrap();
        Bench { log, path, limits, buffer, completed: 0, given: 0, flushed: 0 }
    }

    /// All of the next unit's fragments, or some and then none of it.
    fn read_log(&mut self, random: &mut StdRng) {
        let Some(next) = self.log.units.get(self.completed) else { return };
        if !self.buffer.has_room() {
            return;
        }
        let (last, kept) = next.records.split_last().expect("at least one");
        let voided = random.random_ratio(1, 10);
        for (offset, payload) in kept {
            self.buffer.keep(*offset, payload.clone()).unwrap();
        }
        if voided {
            self.buffer.void().unwrap();
        } else {
            self.buffer.complete(&next.completed, last.clone()).unwrap();
            self.completed += 1;
        }
    }

    fn take(&mut self) {
        let expected = self.log.units[..self.completed].get(self.given);
        let unit = self.buffer.take().unwrap();
        assert_eq!(unit.is_some(), expected.is_some());
        let (Some(unit), Some(expected)) = (unit, expected) else { return };
        assert_eq!((unit.kind, unit.mark), (expected.completed.kind, expected.completed.mark));
        assert_eq!(unit.after, expected.completed.after);
        let payloads: Vec<Bytes> = match &unit.body {
            Body::Progress => Vec::new(),
            Body::Memory(payloads) => payloads.to_vec(),
            Body::Spooled => {
                let offsets = unit.first_offset..unit.mark.next_offset;
                let records = self.buffer.records(offsets).unwrap();
                records.into_iter().map(|(_, payload)| payload).collect()
            }
        };
        let progress = expected.completed.kind == UnitKind::Progress;
        let wanted = expected.records.iter().filter(|_| !progress).map(|(_, payload)| payload);
        assert!(payloads.iter().eq(wanted), "records of {}", unit.mark.position);
        self.given += 1;
    }

    fn flush(&mut self, random: &mut StdRng) {
        let flushed = random.random_range(self.flushed..=self.given);
        if flushed > self.flushed {
            self.flushed = flushed;
            self.buffer.flushed(&self.log.units[flushed - 1].completed.mark).unwrap();
        }
    }

    /// A new connection finds the checkpoint anywhere from what was flushed to what was given out.
    fn reconnect(&mut self, random: &mut StdRng, most: usize) {
        let reached = random.random_range(self.flushed..=most);
        let mark = match reached {
            0 => Mark { position: at(0), next_offset: 0, ..self.log.units[0].completed.mark },
            n => self.log.units[n - 1].completed.mark,
        };
        assert!(self.buffer.rewind(Some(&mark)).unwrap());
        self.given = reached;
    }

    /// The process dies; what it had in memory is read from the log again.
    fn restart(mut self, random: &mut StdRng) -> Self {
        let before = self.given;
        drop(self.buffer);
        let (spool, contents) = Spool::open(self.path).unwrap();
        let contents = contents.expect("a base was saved");
        self.buffer = Buffer::new(spool, Some(contents), self.limits, FailPoints::default());
        let end = self.buffer.end().expect("the base's end at least");
        let completed = self.log.units.partition_point(|unit| unit.place() <= end.place());
        assert!(completed <= self.completed.max(self.flushed));
        self.completed = completed;
        // The target may be further than the spool: then it is not covered, and dropped.
        if self.flushed > completed {
            let mark = self.log.units[self.flushed - 1].completed.mark;
            assert!(!self.buffer.rewind(Some(&mark)).unwrap());
            self.buffer.reset(Some(mark)).unwrap();
            (self.completed, self.given) = (self.flushed, self.flushed);
            return self;
        }
        self.reconnect(random, before.min(completed));
        self
    }

    fn check(&self) {
        let levels = self.buffer.levels();
        assert_eq!(levels.units, (self.completed - self.given) as u64);
        let end = self.log.units[..self.completed].last().map(|unit| unit.completed.mark);
        assert!(end.is_none() || self.buffer.end() == end);
        // More only by the unit that was being read.
        let unit = 1 << 12;
        assert!(levels.memory_bytes <= self.limits.memory + unit, "{levels:?}");
        assert!(levels.spool_bytes <= self.limits.disk + unit, "{levels:?}");
    }
}

#[test]
fn whatever_comes_units_go_out_once_in_order_and_whole() {
    let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in 0..12 {
        let random = &mut StdRng::seed_from_u64(seed);
        let log = Log::new(random, 120);
        let directory = tempfile::tempdir().unwrap();
        let limits = Limits { memory: random.random_range(1000..20_000), disk: 30_000 };
        let mut bench = Bench::new(&log, directory.path(), limits);
        while bench.flushed < log.units.len() {
            match random.random_range(0..100) {
                0..50 => bench.read_log(random),
                50..80 => bench.take(),
                80..92 => bench.flush(random),
                92..95 => bench.buffer.save_base().unwrap(),
                95..98 => {
                    let most = bench.given;
                    bench.reconnect(random, most);
                }
                _ => bench = bench.restart(random),
            }
            bench.check();
            let levels = bench.buffer.levels();
            *seen.entry("spooled").or_default() += u64::from(levels.spool_bytes > 0);
            *seen.entry("full").or_default() += u64::from(!bench.buffer.has_room());
        }
        assert_eq!(bench.buffer.levels(), Levels::default(), "seed {seed}");
        assert!(bench.buffer.is_drained());
    }
    assert!(seen.values().all(|times| *times > 20), "{seen:?}");
}

#[test]
fn a_spool_is_found_again_without_being_read_through() {
    let directory = tempfile::tempdir().unwrap();
    let limits = Limits { memory: 1 << 10, disk: 1 << 30 };
    let (spool, contents) = Spool::open(directory.path()).unwrap();
    let buffer = Buffer::new(spool, contents, limits, FailPoints::default());
    let base = Mark { position: at(0), ..completed(1).mark };
    buffer.reset(Some(base)).unwrap();
    for n in 1..=3000 {
        buffer.complete(&completed(n), (n, Bytes::from(vec![1; 100]))).unwrap();
    }
    for _ in 0..1000 {
        buffer.take().unwrap();
    }
    buffer.flushed(&completed(1000).mark).unwrap();
    buffer.save_base().unwrap();
    let levels = buffer.levels();
    drop(buffer);
    let (spool, contents) = Spool::open(directory.path()).unwrap();
    let contents = contents.unwrap();
    assert_eq!(contents.base, completed(1000).mark);
    assert_eq!(contents.next, Some(1001));
    let spooled = contents.last.units - contents.passed.units;
    assert!((1990..=levels.units).contains(&spooled), "{contents:?}");
    // Wherever a place's offset points, the position decides first.
    for (hint, expected) in [(0, 1500), (700, 1500), (1501, 1501), (2500, 1501), (9000, 1501)] {
        let above = spool.above(Uuid::nil(), (at(1500), hint)).unwrap().unwrap();
        assert_eq!((above.unit.mark.position, above.tally.units), (at(expected), expected));
    }
    assert!(spool.above(Uuid::nil(), (at(3000), 3001)).unwrap().is_none());
}
