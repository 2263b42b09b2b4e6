//! What only the embedded log has: one process, one directory, crashes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lockstep_common::{Failure, config};
use lockstep_log::embedded::EmbeddedLog;
use lockstep_log::{Batch, Bounds, Item, Log, Seek, Stream, Writer};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::bed::{drain, halted};
use crate::records::{Scribe, at, raw};

async fn open(path: &Path) -> Result<EmbeddedLog, Failure> {
    open_with(path, None).await
}

async fn open_with(path: &Path, retention: Option<Duration>) -> Result<EmbeddedLog, Failure> {
    let config = config::EmbeddedLog { path: path.to_owned(), retention };
    EmbeddedLog::open(&config, "p").await
}

async fn all(log: &dyn Log, stream: Stream) -> Vec<Item> {
    let mut reader = log.reader(stream).await.unwrap();
    drain(&mut *reader).await
}

async fn bounds(log: &dyn Log, stream: Stream) -> Bounds {
    log.reader(stream).await.unwrap().bounds().await.unwrap()
}

/// What a power cut would leave: the files as they are at one moment, so again if RocksDB made or
/// removed one meanwhile.
fn power_cut(from: &Path, to: &Path) {
    let list = || -> BTreeSet<_> {
        fs::read_dir(from).unwrap().map(|file| file.unwrap().file_name()).collect()
    };
    loop {
        fs::create_dir(to).unwrap();
        let names = list();
        let copied = names.iter().all(|name| fs::copy(from.join(name), to.join(name)).is_ok());
        if copied && list() == names {
            return;
        }
        fs::remove_dir_all(to).unwrap();
    }
}

fn newest_wal(directory: &Path) -> PathBuf {
    let files = fs::read_dir(directory).unwrap().map(|file| file.unwrap().path());
    let wals = files.filter(|path| path.extension().is_some_and(|ext| ext == "log"));
    wals.max().expect("there is a WAL")
}

#[tokio::test]
async fn one_process_holds_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path()).await.unwrap();
    let failure = halted(open(directory.path()).await);
    assert!(failure.message.starts_with("another process holds"), "{failure}");
    drop(log);
    open(directory.path()).await.expect("it is free again");
}

async fn open_for_reading(path: &Path) -> Result<EmbeddedLog, Failure> {
    let config = config::EmbeddedLog { path: path.to_owned(), retention: None };
    EmbeddedLog::open_for_reading(&config, "p").await
}

#[tokio::test]
async fn a_log_is_read_while_another_process_writes_it() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path()).await.unwrap();
    let (mut writer, tail) = log.writer().await.unwrap();
    let scribe = Scribe { log_id: tail.log_id, epoch: 1 };
    writer.append(vec![scribe.transaction(1, 0)]).await.unwrap();
    writer.commit().await.unwrap();
    let names = || -> BTreeSet<_> {
        fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().file_name()).collect()
    };
    let before = names();

    let reading =
        open_for_reading(directory.path()).await.expect("a lock keeps nobody from reading");
    let mut reader = reading.reader(Stream::Transactions).await.unwrap();
    assert_eq!(drain(&mut *reader).await.len(), 1);
    writer.append(vec![scribe.transaction(2, 1)]).await.unwrap();
    let uncommitted = all(&reading, Stream::Transactions).await.len();
    writer.commit().await.unwrap();
    let Ok(Batch::Items(items)) = reader.read().await else { panic!("a commit wakes its readers") };
    assert_eq!((uncommitted, items.len()), (1, 1));
    assert_eq!(before, names(), "reading leaves nothing there");
    assert_eq!(halted(reading.writer().await.map(drop)).code.as_str(), "log.storage");
}

#[tokio::test]
async fn reading_makes_no_log() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    assert_eq!(halted(open_for_reading(&path).await).code.as_str(), "log.no_stream");
    assert!(!path.exists());
}

#[tokio::test]
async fn what_is_no_log_is_not_touched() {
    let directory = tempfile::tempdir().unwrap();
    let letter = directory.path().join("letter");
    fs::write(&letter, "keep me").unwrap();
    assert_eq!(halted(open(directory.path()).await).code.as_str(), "log.not_a_log");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);

    let spool = directory.path().join("spool");
    let mut options = rocksdb::Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    drop(rocksdb::DB::open_cf(&options, &spool, ["units", "records"]).unwrap());
    assert_eq!(halted(open(&spool).await).code.as_str(), "log.not_a_log");
}

#[tokio::test]
async fn another_pipelines_directory_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()).await.unwrap());
    let config = config::EmbeddedLog { path: directory.path().to_owned(), retention: None };
    let failure = halted(EmbeddedLog::open(&config, "q").await);
    assert!(failure.message.contains("`p`") && failure.message.contains("`q`"), "{failure}");
}

#[tokio::test]
async fn another_format_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()).await.unwrap());
    let db = rocksdb::DB::open_default(directory.path()).unwrap();
    db.put(b"\0f", [9]).unwrap();
    drop(db);
    let failure = halted(open(directory.path()).await);
    assert_eq!(failure.code.as_str(), "log.format");
}

#[tokio::test]
async fn retention_removes_what_is_old() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_with(directory.path(), Some(Duration::from_millis(2))).await.unwrap();
    let (mut writer, _) = log.writer().await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while bounds(&log, Stream::Snapshot(2)).await.first < 10 {
        assert!(Instant::now() < deadline, "nothing was removed");
        writer.append(vec![raw(Stream::Snapshot(2), None, "row")]).await.unwrap();
        writer.commit().await.unwrap();
    }
    let left = bounds(&log, Stream::Snapshot(2)).await;
    let items = all(&log, Stream::Snapshot(2)).await;
    assert_eq!(items.first().map_or(left.end, |item| item.offset), left.first);
    assert!(!all(&log, Stream::Schemas).await.is_empty(), "schemas are never removed");
}

#[tokio::test]
async fn a_torn_wal_loses_whole_commits_from_its_end_only() {
    let directory = tempfile::tempdir().unwrap();
    let live = directory.path().join("live");
    let log = open(&live).await.unwrap();
    let (mut writer, tail) = log.writer().await.unwrap();
    let scribe = Scribe { log_id: tail.log_id, epoch: 1 };
    let before = fs::metadata(newest_wal(&live)).unwrap().len();
    for n in 1..=20 {
        let call = vec![scribe.transaction(n, n - 1), raw(Stream::Snapshot(0), None, "row")];
        writer.append(call).await.unwrap();
        writer.commit().await.unwrap();
    }
    let length = fs::metadata(newest_wal(&live)).unwrap().len();
    let mut seen = BTreeMap::new();
    for (case, cut) in (before..=length).step_by(29).enumerate() {
        let copy = directory.path().join(format!("cut{case}"));
        power_cut(&live, &copy);
        let wal = fs::OpenOptions::new().write(true).open(newest_wal(&copy)).unwrap();
        wal.set_len(cut).unwrap();
        let log = open(&copy).await.expect("a torn tail is no damage");
        let transactions = all(&log, Stream::Transactions).await.len();
        assert_eq!(transactions, all(&log, Stream::Snapshot(0)).await.len(), "half a commit");
        let (_, tail) = log.writer().await.unwrap();
        let last = u64::try_from(transactions).unwrap();
        assert_eq!(tail.position, (last > 0).then(|| at(last)));
        *seen.entry(transactions).or_insert(0) += 1;
        drop(log);
        fs::remove_dir_all(copy).unwrap();
    }
    assert!(seen.len() > 15, "{seen:?}");
}

#[tokio::test]
async fn a_damaged_wal_halts() {
    let directory = tempfile::tempdir().unwrap();
    let live = directory.path().join("live");
    let log = open(&live).await.unwrap();
    let (mut writer, tail) = log.writer().await.unwrap();
    let scribe = Scribe { log_id: tail.log_id, epoch: 1 };
    for n in 1..=20 {
        writer.append(vec![scribe.transaction(n, n - 1)]).await.unwrap();
        writer.commit().await.unwrap();
    }
    let copy = directory.path().join("copy");
    power_cut(&live, &copy);
    let wal = newest_wal(&copy);
    let mut bytes = fs::read(&wal).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    fs::write(&wal, bytes).unwrap();
    halted(open(&copy).await);
}

/// What a test may do to a log.
#[derive(Clone, Debug)]
enum Step {
    Append { transactions: u8, snapshot: u8 },
    Commit,
    TakeOver,
    Trim { percent: u8 },
    Reopen,
    PowerCut,
    Read { percent: u8 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4u8, 0..3u8)
            .prop_map(|(transactions, snapshot)| Step::Append { transactions, snapshot }),
        4 => Just(Step::Commit),
        1 => Just(Step::TakeOver),
        1 => (0..=100u8).prop_map(|percent| Step::Trim { percent }),
        1 => Just(Step::Reopen),
        1 => Just(Step::PowerCut),
        2 => (0..=100u8).prop_map(|percent| Step::Read { percent }),
    ]
}

/// One stream as it should be.
#[derive(Default)]
struct Model {
    first: u64,
    records: Vec<u64>,
}

impl Model {
    fn end(&self) -> u64 {
        u64::try_from(self.records.len()).unwrap()
    }

    fn from(&self, offset: u64) -> Vec<(u64, u64)> {
        (offset..self.end()).map(|o| (o, self.records[usize::try_from(o).unwrap()])).collect()
    }
}

/// The log under test and what it should hold.
struct Trial {
    directory: TempDir,
    cuts: u32,
    path: PathBuf,
    log: EmbeddedLog,
    writer: Box<dyn Writer>,
    scribe: Scribe,
    next: u64,
    transactions: Model,
    snapshot: Model,
    /// Appended and not committed.
    open: (Vec<u64>, Vec<u64>),
}

impl Trial {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let log = open(&path).await.unwrap();
        let (writer, tail) = log.writer().await.unwrap();
        Trial {
            directory,
            cuts: 0,
            path,
            log,
            writer,
            scribe: Scribe { log_id: tail.log_id, epoch: 1 },
            next: 0,
            transactions: Model::default(),
            snapshot: Model::default(),
            open: Default::default(),
        }
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Append { transactions, snapshot } => self.append(transactions, snapshot).await,
            Step::Commit => {
                self.writer.commit().await.unwrap();
                self.transactions.records.append(&mut self.open.0);
                self.snapshot.records.append(&mut self.open.1);
            }
            Step::TakeOver => self.take_over().await,
            Step::Trim { percent } => self.trim(percent).await,
            Step::Reopen | Step::PowerCut => {
                if matches!(step, Step::PowerCut) {
                    self.cuts += 1;
                    let copy = self.directory.path().join(format!("cut{}", self.cuts));
                    power_cut(&self.path, &copy);
                    self.path = copy;
                }
                self.reopen().await;
            }
            Step::Read { percent } => self.check(percent).await,
        }
    }

    async fn append(&mut self, transactions: u8, snapshot: u8) {
        let mut call = Vec::new();
        for _ in 0..transactions {
            self.next += 1;
            call.push(self.scribe.transaction(self.next, self.next - 1));
            self.open.0.push(self.next);
        }
        for _ in 0..snapshot {
            self.next += 1;
            call.push(raw(Stream::Snapshot(1), None, &self.next.to_string()));
            self.open.1.push(self.next);
        }
        self.writer.append(call).await.unwrap();
    }

    async fn take_over(&mut self) {
        let (writer, tail) = self.log.writer().await.unwrap();
        let newest = self.transactions.from(self.transactions.first).last().map(|(_, n)| *n);
        assert_eq!(tail.position, newest.map(at));
        assert_eq!(tail.log_id, self.scribe.log_id);
        self.writer = writer;
        self.open = Default::default();
    }

    async fn reopen(&mut self) {
        // The directory's lock is free only when nothing uses it any more.
        let spare = self.directory.path().join(format!("spare{}", self.next));
        let unused = open(&spare).await.unwrap();
        let (writer, _) = unused.writer().await.unwrap();
        self.writer = writer;
        drop(std::mem::replace(&mut self.log, unused));
        self.log = open(&self.path).await.unwrap();
        fs::remove_dir_all(spare).ok();
        self.take_over().await;
    }

    async fn trim(&mut self, percent: u8) {
        let model = &mut self.transactions;
        let to = model.first + (model.end() - model.first) * u64::from(percent) / 100;
        self.log.trim(Stream::Transactions, to).await.unwrap();
        model.first = to;
    }

    async fn check(&mut self, percent: u8) {
        for (stream, model) in
            [(Stream::Transactions, &self.transactions), (Stream::Snapshot(1), &self.snapshot)]
        {
            let mut reader = self.log.reader(stream).await.unwrap();
            let expected = Bounds { first: model.first, end: model.end() };
            assert_eq!(reader.bounds().await.unwrap(), expected);
            let from = model.first + (model.end() - model.first) * u64::from(percent) / 100;
            reader.seek(Seek::Offset(from)).await.unwrap();
            let items = drain(&mut *reader).await;
            let found: Vec<_> = items.iter().map(|item| (item.offset, number(item))).collect();
            assert_eq!(found, model.from(from));
        }
    }
}

fn number(item: &Item) -> u64 {
    match std::str::from_utf8(&item.payload).ok().and_then(|text| text.parse().ok()) {
        Some(number) => number,
        None => crate::records::place(&item.payload).0,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn it_is_what_a_list_is(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut trial = Trial::new().await;
            for step in steps {
                trial.take(step).await;
            }
            trial.check(0).await;
        });
    }
}

#[tokio::test]
async fn readers_and_a_writer_work_at_the_same_time() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path()).await.unwrap();
    let (mut writer, tail) = log.writer().await.unwrap();
    let scribe = Scribe { log_id: tail.log_id, epoch: 1 };
    let mut readers = Vec::new();
    for _ in 0..4 {
        let mut reader = log.reader(Stream::Transactions).await.unwrap();
        readers.push(tokio::spawn(async move {
            let mut next = 1;
            while next <= 500 {
                if let Batch::Items(items) = reader.read().await.unwrap() {
                    for item in items {
                        assert_eq!(number(&item), next);
                        next += 1;
                    }
                }
            }
        }));
    }
    for n in 1..=500 {
        writer.append(vec![scribe.transaction(n, n - 1)]).await.unwrap();
        if n % 3 == 0 || n == 500 {
            writer.commit().await.unwrap();
        }
    }
    for reader in readers {
        reader.await.unwrap();
    }
}
