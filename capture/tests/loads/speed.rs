//! How fast rows go through capture into the log, from a source that costs nothing. A measurement, run
//! by hand: `cargo test -p lockstep-capture --test main loads::speed -- --ignored --nocapture`

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use lockstep_capture::source::load::{Clock, Frozen, Loader, RowSink, Rows, Survey};
use lockstep_capture::source::{
    Changes, Cursor, Head, Poll, Source, Start, Table, Window, Witness,
};
use lockstep_common::config::Task;
use lockstep_common::definition::Definition;
use lockstep_common::load::{ChunkRange, Handoff};
use lockstep_common::record::SourceTime;
use lockstep_common::{
    Column, FailPoints, Failure, LogicalType, Position, TableName, TableVersion, Value,
};

use super::settings;
use crate::scripted::position;
use crate::service::{Bed, Running};

const ROWS: i64 = 1_000_000;

fn version() -> TableVersion {
    let column = |name: &str| Column {
        name: name.to_owned(),
        ty: LogicalType::Int { bytes: 8 },
        source_type: "of no matter".to_owned(),
        nullable: true,
        collation: None,
        identity: false,
        computed: false,
    };
    TableVersion {
        dialect: "generated".to_owned(),
        object_id: 1,
        name: TableName { schema: "dbo".to_owned(), table: "t".to_owned() },
        columns: ('a'..='j').map(|name| column(&name.to_string())).collect(),
        key: vec![0],
    }
}

fn row(row: &mut Vec<Value<'static>>, id: i64) {
    row.clear();
    row.extend([
        Value::I64(id),
        Value::I64(id * 7),
        Value::String(Cow::Borrowed("code-123456")),
        Value::String(Cow::Borrowed("a name of some length 123456")),
        Value::Decimal { unscaled: 12_345_625, scale: 2 },
        Value::F64(123_456.5),
        Value::Timestamp(17_700_000_000_000_000),
        Value::Bool(true),
        Value::String(Cow::Borrowed("a note of middling length, number 123456")),
        Value::Date(20_783),
    ]);
}

struct Generated;

fn head(n: usize) -> Head {
    let source_time = SourceTime { raw: format!("moment {n}"), offset: 0 };
    let witness = Witness { transaction_id: None, source_time };
    Head { position: position(n), time: n as i64, witness }
}

#[async_trait]
impl Source for Generated {
    async fn connect(&mut self) -> Result<String, Failure> {
        Ok("generated".to_owned())
    }

    async fn locate(&mut self, _: Start) -> Result<Cursor, Failure> {
        Ok(Cursor { position: position(0), witness: None })
    }

    async fn resume(&mut self, _: &Cursor, _: &[TableVersion]) -> Result<(), Failure> {
        Ok(())
    }

    fn tables(&self, _: Position) -> Vec<Table> {
        vec![Table { id: version().id(), version: Arc::new(version()) }]
    }

    async fn poll(&mut self, after: Position) -> Result<Poll, Failure> {
        let n = super::world::number(&after) + 1;
        let window = Window { after, heads: vec![head(n)], more: false };
        Ok(Poll { window: Some(window), newest: None, clock: 0 })
    }

    async fn read(&mut self, _: &Window) -> Result<Box<dyn Changes>, Failure> {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        Ok(Box::new(Nothing))
    }

    async fn verify(&mut self, _: &Window) -> Result<(), Failure> {
        Ok(())
    }

    fn loader(&self) -> Arc<dyn Loader> {
        Arc::new(Generated)
    }

    async fn inspect(&mut self, _: Position) -> Result<Vec<String>, Failure> {
        Ok(Vec::new())
    }
}

struct Nothing;

#[async_trait]
impl Changes for Nothing {
    async fn next(&mut self) -> Result<Option<Vec<lockstep_capture::source::Located>>, Failure> {
        Ok(None)
    }
}

fn key(key: Option<&[Value<'static>]>, open: i64) -> i64 {
    match key {
        Some([Value::I64(key)]) => *key,
        _ => open,
    }
}

#[async_trait]
impl Loader for Generated {
    async fn definitions(&self, _: &[Table]) -> Result<Vec<Definition>, Failure> {
        Ok(Vec::new())
    }

    async fn survey(&self, tables: &[Table]) -> Result<Vec<Survey>, Failure> {
        let survey =
            Survey { table: tables[0].id, rows: Some(ROWS as u64), bytes: None, unranged: None };
        Ok(vec![survey])
    }

    async fn boundary(
        &self,
        _: &Table,
        lower: Option<&[Value<'static>]>,
        rows: u32,
    ) -> Result<Option<Vec<Value<'static>>>, Failure> {
        let upper = key(lower, 0) + i64::from(rows);
        Ok((upper <= ROWS).then(|| vec![Value::I64(upper)]))
    }

    async fn rows(&self, _: &Table, range: &ChunkRange) -> Result<Box<dyn Rows>, Failure> {
        let next = key(range.lower.as_deref(), 0) + 1;
        Ok(Box::new(Range { next, upper: key(range.upper.as_deref(), ROWS) }))
    }

    async fn clock(&self) -> Result<Clock, Failure> {
        Ok(String::new())
    }

    fn proves(&self, _: &Head, _: &Clock) -> bool {
        true
    }

    async fn signal(&self) -> Result<Option<String>, Failure> {
        Ok(None)
    }

    async fn freeze(&self, _: &[Table], _: usize) -> Result<Frozen, Failure> {
        Err(Failure::halt("source.generated", "it cannot be frozen", "read it beside the stream"))
    }
}

struct Range {
    next: i64,
    upper: i64,
}

#[async_trait]
impl Rows for Range {
    async fn next(&mut self, sink: &mut dyn RowSink) -> Result<bool, Failure> {
        let mut values = Vec::new();
        for id in self.next..=(self.next + 255).min(self.upper) {
            row(&mut values, id);
            sink.row(&mut values, 150);
        }
        self.next += 256;
        tokio::task::yield_now().await;
        Ok(self.next <= self.upper)
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn rows_of_ten_columns() {
    for readers in [1, 2, 4] {
        let bed = Bed::new().await;
        let mut settings = settings(Task::FullLoad, Handoff::Bracketed);
        settings.capture.load_readers = readers;
        settings.capture.chunk_rows = 100_000;
        let started = Instant::now();
        let running =
            Running::start_task(Box::new(Generated), settings, &bed.log, FailPoints::default());
        let status = running.status.clone();
        running.ends().await.expect("the task ends");
        let seconds = started.elapsed().as_secs_f64();
        let load = status.borrow().load.clone().expect("a load");
        let table = &load.tables["dbo.t"];
        assert_eq!(table.rows, ROWS as u64);
        let (rows, megabytes) = (ROWS as f64 / seconds, table.bytes as f64 / 1e6);
        println!(
            "{readers} readers: {rows:.0} rows/s, {megabytes:.0} MB, {:.0} MB/s",
            megabytes / seconds
        );
    }
}
