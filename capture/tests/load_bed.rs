//! A loader over the SQL Server double, as capture has it: after the source was resumed.

use std::sync::Arc;

use lockstep_capture::source::load::{Loader, RowSink, Rows};
use lockstep_capture::source::sqlserver_cdc::SqlServer;
use lockstep_capture::source::{Source, Start, Table};
use lockstep_common::model::load::ChunkRange;
use lockstep_common::{Failure, Position, Value, config};

use crate::server::Server;
use crate::service::capture;

pub type Row = Vec<Value<'static>>;

/// A source that was resumed, and its loader.
pub struct Loading {
    pub source: SqlServer,
    pub loader: Arc<dyn Loader>,
    pub tables: Vec<Table>,
}

impl Loading {
    pub async fn new(server: &Server) -> Self {
        Self::with(server, capture()).await
    }

    pub async fn with(server: &Server, capture: config::Capture) -> Self {
        let mut source = SqlServer::new(&server.source(), &capture).expect("a password");
        source.connect().await.expect("it connects");
        let cursor = source.locate(Start::Now).await.expect("there is a now");
        source.resume(&cursor, &[]).await.expect("it resumes");
        let everything = Position::new(u32::MAX, &[0xff; 10]).expect("ten bytes");
        let tables = source.tables(everything);
        Loading { loader: source.loader(), source, tables }
    }

    /// The table `dbo.<name>`.
    pub fn table(&self, name: &str) -> &Table {
        let found = self.tables.iter().find(|table| table.version.name.table == name);
        found.unwrap_or_else(|| panic!("{name} is not followed"))
    }

    /// The chunks of a table, of `rows` rows each, as a planner makes them.
    pub async fn chunks(&self, table: &Table, rows: u32) -> Vec<ChunkRange> {
        let mut chunks = Vec::new();
        let mut lower: Option<Row> = None;
        loop {
            let upper = self.loader.boundary(table, lower.as_deref(), rows).await;
            let upper = upper.expect("a boundary or none");
            let chunk = u32::try_from(chunks.len()).expect("few chunks");
            chunks.push(ChunkRange { chunk, lower: lower.clone(), upper: upper.clone() });
            match upper {
                None => return chunks,
                upper => lower = upper,
            }
        }
    }

    /// The rows of a range.
    pub async fn rows(&self, table: &Table, range: &ChunkRange) -> Result<Vec<Row>, Failure> {
        drain(self.loader.rows(table, range).await?.as_mut()).await
    }
}

/// Lets the reader see the log's position.
pub async fn see_positions(server: &mut Server) {
    server.admin.run("USE master").await;
    server.admin.run("GRANT VIEW SERVER PERFORMANCE STATE TO reader").await;
    server.admin.run("USE shop").await;
}

/// All of a table.
pub fn whole() -> ChunkRange {
    ChunkRange { chunk: 0, lower: None, upper: None }
}

/// Keeps rows.
#[derive(Default)]
pub struct Keep(pub Vec<Row>);

impl RowSink for Keep {
    fn row(&mut self, row: &mut Vec<Value<'_>>, _size: usize) {
        self.0.push(row.drain(..).map(Value::into_owned).collect());
    }
}

/// Reads to the end.
pub async fn drain(rows: &mut (dyn Rows + '_)) -> Result<Vec<Row>, Failure> {
    let mut keep = Keep::default();
    while rows.next(&mut keep).await? {}
    Ok(keep.0)
}

/// The integers of a column of rows.
pub fn integers(rows: &[Row], column: usize) -> Vec<i64> {
    let of = |row: &Row| match row[column] {
        Value::I64(number) => number,
        ref other => panic!("no integer: {other:?}"),
    };
    rows.iter().map(of).collect()
}
