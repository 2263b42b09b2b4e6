//! Tables without changes: what cleanup does to them while windows are planned, read and proved.
//!
//! The source is driven by hand, call by call, so that cleanup comes exactly between two of them.

use lockstep_capture::source::sqlserver_cdc::SqlServer;
use lockstep_capture::source::{Source, Start, Window};
use lockstep_common::{Disposition, Failure, Position, Value, config};

use crate::server::Server;
use crate::service::capture;

/// A table of changes and its number, as they were read.
type Row = (String, i64);

/// A source that is driven by hand.
struct Reader {
    source: SqlServer,
    cursor: Position,
}

impl Reader {
    async fn new(server: &Server) -> Self {
        let capture = config::Capture { window_transactions: 1, ..capture() };
        let mut source = SqlServer::new(&server.source(), &capture).expect("settings");
        source.connect().await.expect("it connects");
        let cursor = source.locate(Start::Earliest).await.expect("a cursor");
        source.resume(&cursor, &[]).await.expect("it resumes");
        let mut reader = Reader { source, cursor: cursor.position };
        reader.settle().await;
        reader
    }

    /// Passes everything that is there already.
    async fn settle(&mut self) {
        while let Some(window) = self.plan().await {
            self.read(&window).await;
            self.source.verify(&window).await.expect("nothing is missing");
            self.cursor = window.through();
        }
    }

    async fn plan(&mut self) -> Option<Window> {
        self.source.poll(self.cursor).await.expect("it polls").window
    }

    async fn read(&mut self, window: &Window) -> Vec<Row> {
        let tables = self.source.tables(window.through());
        let mut changes = self.source.read(window).await.expect("it reads");
        let mut rows = Vec::new();
        while let Some(batch) = changes.next().await.expect("it reads on") {
            for located in batch {
                let table = tables.iter().find(|table| table.id == located.change.table);
                let name = table.expect("a followed table").version.name.table.clone();
                let Value::I64(id) = located.change.after[0] else { panic!("a number") };
                if name != FILLER {
                    rows.push((name, id));
                }
            }
        }
        rows
    }

    async fn passes(&mut self, window: &Window) {
        self.source.verify(window).await.expect("nothing is missing");
        self.cursor = window.through();
    }
}

fn is_gap(verified: Result<(), Failure>, table: &str) {
    let failure = verified.expect_err("something is missing");
    let line = failure.to_string();
    assert_eq!(
        (failure.code.as_str(), failure.disposition()),
        ("source.gap", Disposition::Halt),
        "{line}"
    );
    assert!(line.contains(table), "{table} is not in {line:?}");
}

/// The smallest window has two commits: this table has every second one.
const FILLER: &str = "filler";

/// Writes what is to be a window.
async fn insert(server: &mut Server, table: &str, id: i64) {
    server.captured(&format!("INSERT INTO dbo.{table} VALUES ({id})")).await;
    server.captured(&format!("INSERT INTO dbo.{FILLER} DEFAULT VALUES")).await;
}

/// Cleans a change table of everything below the newest commit.
async fn clean(server: &mut Server, table: &str) {
    server
        .admin
        .run(&format!(
            "DECLARE @mark binary(10) = (SELECT MAX(start_lsn) FROM cdc.lsn_time_mapping); \
             EXEC sys.sp_cdc_cleanup_change_table @capture_instance = N'dbo_{table}', \
             @low_water_mark = @mark"
        ))
        .await;
}

async fn with_tables(names: &[&str]) -> Server {
    let mut server = Server::new().await;
    for name in names {
        server.table(name, "id int NOT NULL PRIMARY KEY").await;
    }
    server.table(FILLER, "id int IDENTITY NOT NULL PRIMARY KEY").await;
    insert(&mut server, names[0], 0).await;
    server
}

const TABLES: [&str; 5] = ["busy", "seldom", "c", "d", "e"];

/// Where cleanup comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Never,
    BeforePlan,
    BeforeRead,
    BeforeVerify,
}

/// Cleanup takes the changes of `seldom` away, at one of the places of the window that has them.
#[tokio::test(flavor = "multi_thread")]
async fn cleanup_of_a_window_is_seen_before_it_may_be_written() {
    for at in [At::Never, At::BeforePlan, At::BeforeRead, At::BeforeVerify] {
        // In the window that is planned first, and in one of which is known already where it is.
        for windows_before in [0, 2] {
            let mut server = with_tables(&TABLES).await;
            let mut reader = Reader::new(&server).await;
            for id in 0..windows_before {
                insert(&mut server, "busy", 10 + id).await;
            }
            insert(&mut server, "seldom", 1).await;
            insert(&mut server, "busy", 20).await;
            for id in 0..windows_before {
                let window = reader.plan().await.expect("a window");
                assert_eq!(reader.read(&window).await, [("busy".to_owned(), 10 + id)]);
                reader.passes(&window).await;
            }
            if at == At::BeforePlan {
                clean(&mut server, "seldom").await;
            }
            let window = reader.plan().await.expect("a window");
            if at == At::BeforeRead {
                clean(&mut server, "seldom").await;
            }
            let rows = reader.read(&window).await;
            if at == At::BeforeVerify {
                clean(&mut server, "seldom").await;
            }
            let seen = matches!(at, At::Never | At::BeforeVerify);
            let expected = if seen { vec![("seldom".to_owned(), 1)] } else { Vec::new() };
            assert_eq!(rows, expected, "{at:?} after {windows_before} windows");
            let verified = reader.source.verify(&window).await;
            match at {
                At::Never => verified.expect("nothing is missing"),
                _ => is_gap(verified, "dbo.seldom"),
            }
        }
    }
}

/// What was cleaned away lies further on; but it is asked about now, and looks as if it never was.
#[tokio::test(flavor = "multi_thread")]
async fn cleanup_of_what_is_further_on_is_seen_at_once() {
    let mut server = with_tables(&TABLES).await;
    let mut reader = Reader::new(&server).await;
    insert(&mut server, "busy", 1).await;
    insert(&mut server, "seldom", 1).await;
    insert(&mut server, "busy", 2).await;
    clean(&mut server, "seldom").await;
    let window = reader.plan().await.expect("a window");
    assert_eq!(reader.read(&window).await, [("busy".to_owned(), 1)]);
    is_gap(reader.source.verify(&window).await, "dbo.seldom");
}

/// A table that was proved to have no changes up to the newest commit may be cleaned up to it.
#[tokio::test(flavor = "multi_thread")]
async fn cleanup_of_a_table_that_is_known_to_be_quiet_is_no_gap() {
    let mut server = with_tables(&TABLES).await;
    let mut reader = Reader::new(&server).await;
    for id in 1..4 {
        insert(&mut server, "busy", id).await;
    }
    let mut rows = Vec::new();
    for id in 1..4 {
        let window = reader.plan().await.expect("a window");
        rows.extend(reader.read(&window).await);
        reader.passes(&window).await;
        if id == 1 {
            clean(&mut server, "c").await;
        }
    }
    insert(&mut server, "c", 1).await;
    let window = reader.plan().await.expect("a window");
    rows.extend(reader.read(&window).await);
    reader.passes(&window).await;
    let busy = (1..4).map(|id| ("busy".to_owned(), id));
    assert_eq!(rows, busy.chain([("c".to_owned(), 1)]).collect::<Vec<_>>());
}

/// An instance made anew under the name of one that was quiet is no instance that was quiet.
#[tokio::test(flavor = "multi_thread")]
async fn an_instance_made_anew_while_its_table_is_quiet_is_a_gap() {
    let mut server = with_tables(&TABLES).await;
    let mut reader = Reader::new(&server).await;
    insert(&mut server, "busy", 1).await;
    insert(&mut server, "busy", 2).await;
    let window = reader.plan().await.expect("a window");
    reader.read(&window).await;
    server
        .admin
        .run(
            "EXEC sys.sp_cdc_disable_table @source_schema = N'dbo', @source_name = N'd', \
             @capture_instance = N'all'",
        )
        .await;
    server.capture("d", "dbo_d").await;
    is_gap(reader.source.verify(&window).await, "dbo.d");
}

/// More tables than are asked in one statement, through the functions and through the tables that
/// answer for all instances at once.
#[tokio::test(flavor = "multi_thread")]
async fn of_many_tables_the_one_that_was_cleaned_is_named() {
    let names: Vec<String> = (0..205).map(|i| format!("t{i}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for granted in [false, true] {
        let mut server = with_tables(&names).await;
        if granted {
            server.admin.run("GRANT SELECT ON cdc.change_tables TO reader").await;
            server.admin.run("GRANT SELECT ON cdc.ddl_history TO reader").await;
        }
        let mut reader = Reader::new(&server).await;
        insert(&mut server, "t7", 1).await;
        insert(&mut server, "t203", 2).await;
        insert(&mut server, "t150", 3).await;
        insert(&mut server, "t7", 4).await;
        let window = reader.plan().await.expect("a window");
        assert_eq!(reader.read(&window).await, [("t7".to_owned(), 1)]);
        reader.passes(&window).await;
        let window = reader.plan().await.expect("a window");
        assert_eq!(reader.read(&window).await, [("t203".to_owned(), 2)]);
        reader.passes(&window).await;
        clean(&mut server, "t150").await;
        let window = reader.plan().await.expect("a window");
        assert_eq!(reader.read(&window).await, []);
        is_gap(reader.source.verify(&window).await, "dbo.t150");
    }
}
