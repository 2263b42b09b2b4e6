//! A server in memory and sessions of it, with results as text.

use std::sync::mpsc;
use std::thread::JoinHandle;

use mssql_double::engine::{Config, Server, Session};
use mssql_double::product::Release;
use mssql_double::{
    Cancelled, Column, EnvChange, Param, Request, ResultSink, SqlError, SqlType, Value,
};

/// Everything a request answered.
#[derive(Debug, Default)]
pub struct Kept {
    pub columns: Vec<Vec<Column>>,
    /// Rows of all result sets, values between bars.
    pub rows: Vec<String>,
    pub counts: Vec<Option<u64>>,
    pub messages: Vec<SqlError>,
    pub changes: Vec<EnvChange>,
    pub status: Option<i32>,
    pub values: Vec<Param>,
    /// Cancels once so many rows have come.
    pub cancel_at: Option<usize>,
}

impl ResultSink for Kept {
    fn columns(&mut self, columns: &[Column]) -> Result<(), Cancelled> {
        self.columns.push(columns.to_vec());
        Ok(())
    }
    fn row(&mut self, row: &[Value]) -> Result<(), Cancelled> {
        self.rows.push(row.iter().map(show).collect::<Vec<_>>().join("|"));
        Ok(())
    }
    fn done(&mut self, rows: Option<u64>) -> Result<(), Cancelled> {
        self.counts.push(rows);
        Ok(())
    }
    fn message(&mut self, message: &SqlError) -> Result<(), Cancelled> {
        self.messages.push(message.clone());
        Ok(())
    }
    fn env_change(&mut self, change: &EnvChange) -> Result<(), Cancelled> {
        self.changes.push(change.clone());
        Ok(())
    }
    fn return_status(&mut self, status: i32) -> Result<(), Cancelled> {
        self.status = Some(status);
        Ok(())
    }
    fn return_value(&mut self, param: &Param) -> Result<(), Cancelled> {
        self.values.push(param.clone());
        Ok(())
    }
    fn is_cancelled(&self) -> bool {
        self.cancel_at.is_some_and(|at| self.rows.len() >= at)
    }
}

/// A value as text: numbers plain, binaries in hexadecimal, times in their units.
pub fn show(value: &Value) -> String {
    match value {
        Value::Null => "NULL".into(),
        Value::Bit(v) => u8::from(*v).to_string(),
        Value::TinyInt(v) => v.to_string(),
        Value::SmallInt(v) => v.to_string(),
        Value::Int(v) => v.to_string(),
        Value::BigInt(v) => v.to_string(),
        Value::Decimal { unscaled, scale } => {
            let scale = usize::from(*scale);
            let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
            let (whole, fraction) = digits.split_at(digits.len() - scale);
            let sign = if *unscaled < 0 { "-" } else { "" };
            if fraction.is_empty() {
                format!("{sign}{whole}")
            } else {
                format!("{sign}{whole}.{fraction}")
            }
        }
        Value::Money(v) => format!("${v}"),
        Value::SmallMoney(v) => format!("${v}"),
        Value::Float(v) => format!("{v:?}"),
        Value::Real(v) => format!("{v:?}"),
        Value::String(_) | Value::NString(_) => value.to_text().unwrap_or_default(),
        Value::Binary(bytes) => {
            format!("0x{}", bytes.iter().map(|b| format!("{b:02X}")).collect::<String>())
        }
        Value::Variant(variant) => format!("({})", show(&variant.value)),
        other => format!("{other:?}"),
    }
}

pub struct Fixture {
    pub server: Server,
}

/// A server in memory with a database `shop` that allows SNAPSHOT.
pub fn server() -> Fixture {
    server_of(Release::default())
}

/// The same of another release.
pub fn server_of(release: Release) -> Fixture {
    let config = Config { data: None, sa_password: "secret".into(), release };
    let server = Server::open(config).expect("a server opens");
    let fixture = Fixture { server };
    let mut admin = fixture.connect_to("master");
    admin.ok("CREATE DATABASE shop");
    admin.ok("ALTER DATABASE shop SET ALLOW_SNAPSHOT_ISOLATION ON");
    fixture
}

impl Fixture {
    /// A session of `sa` in `shop`.
    pub fn connect(&self) -> Client {
        self.connect_to("shop")
    }

    pub fn connect_to(&self, database: &str) -> Client {
        let session = self.server.login("sa", "secret", database).expect("sa logs in");
        Client { session }
    }
}

/// A session.
pub struct Client {
    pub session: Session,
}

impl Client {
    pub fn run(&mut self, sql: &str) -> Kept {
        let mut kept = Kept::default();
        self.session.execute(Request::Batch(sql.into()), &mut kept).expect("not cancelled");
        kept
    }

    /// Runs what must succeed.
    pub fn ok(&mut self, sql: &str) -> Kept {
        let kept = self.run(sql);
        let error = kept.messages.iter().find(|message| message.class > 10);
        assert!(error.is_none(), "{sql}\n{}", error.expect("an error"));
        kept
    }

    /// Rows of what must succeed.
    pub fn rows(&mut self, sql: &str) -> Vec<String> {
        self.ok(sql).rows
    }

    /// The one value of what must succeed.
    pub fn value(&mut self, sql: &str) -> String {
        let rows = self.rows(sql);
        assert_eq!(rows.len(), 1, "{sql}\n{rows:?}");
        rows.into_iter().next().expect("one row")
    }

    /// The value of an expression.
    pub fn eval(&mut self, expression: &str) -> String {
        self.value(&format!("SELECT {expression}"))
    }

    /// Type of an expression.
    pub fn type_of(&mut self, expression: &str) -> SqlType {
        let kept = self.ok(&format!("SELECT {expression}"));
        kept.columns[0][0].ty.clone()
    }

    /// Number of the first error of what must fail.
    pub fn error(&mut self, sql: &str) -> i32 {
        let kept = self.run(sql);
        let error = kept.messages.iter().find(|message| message.class > 10);
        error.unwrap_or_else(|| panic!("no error from {sql}: {kept:?}")).number
    }

    /// A statement with parameters.
    pub fn call(&mut self, sql: &str, params: Vec<Param>) -> Kept {
        let mut kept = Kept::default();
        let request = Request::Statement { sql: sql.into(), params };
        self.session.execute(request, &mut kept).expect("not cancelled");
        kept
    }

    /// Runs in a thread of its own, which hands the session back.
    pub fn spawn(mut self, sql: &'static str) -> Running {
        let (started, running) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            started.send(()).expect("somebody waits");
            let kept = self.run(sql);
            (self, kept)
        });
        running.recv().expect("it started");
        Running { thread }
    }
}

/// A request under way.
pub struct Running {
    thread: JoinHandle<(Client, Kept)>,
}

impl Running {
    pub fn finish(self) -> (Client, Kept) {
        self.thread.join().expect("no panic")
    }
}

pub fn param(name: &str, ty: SqlType, value: Value) -> Param {
    Param { name: name.into(), ty, value, output: false }
}
