//! The wire against real clients, with a scripted server behind it: a statement is answered with
//! its own parameters, a batch by what its first word says.

mod faults;
mod raw;
mod round_trip;
mod session;
mod types;

use std::sync::{Arc, Condvar, Mutex};

use tiberius::{AuthMethod, Client, EncryptionLevel};
use tokio::net::TcpStream;
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt};

use super::backend::{Backend, Canceller, Credentials, Session};
use super::server::{Encryption, Wire};
use crate::{
    Cancelled, Column, EnvChange, Origin, Param, Request, ResultSink, SqlError, SqlType,
    StatementKind, TransactionRequest, Value,
};

const PASSWORD: &str = "Pä55wörd for tests";

/// What the sessions of a scripted server share.
#[derive(Default)]
struct Script {
    /// Columns and rows of `table`.
    table: Mutex<(Vec<Column>, Vec<Vec<Value>>)>,
    /// All requests, in order.
    seen: Mutex<Vec<Request>>,
    /// Told when a statement or a `wait` batch has begun, and when the latter was cancelled.
    waiting: tokio::sync::Notify,
    cancelled: tokio::sync::Notify,
    /// What a `block` batch waits for, and only that.
    interrupted: Arc<(Mutex<bool>, Condvar)>,
}

struct Interrupter(Arc<(Mutex<bool>, Condvar)>);

impl Canceller for Interrupter {
    fn cancel(&self) {
        *self.0.0.lock().expect("not poisoned") = true;
        self.0.1.notify_all();
    }

    fn clear(&self) {
        *self.0.0.lock().expect("not poisoned") = false;
    }
}

struct Scripted(Arc<Script>);

impl Backend for Scripted {
    fn login(&self, credentials: &Credentials) -> Result<Box<dyn Session>, SqlError> {
        if credentials.user != "sa" || credentials.password != PASSWORD {
            let text = format!("Login failed for user '{}'.", credentials.user);
            return Err(SqlError::new(18456, 14, 1, text));
        }
        let database = match credentials.database.as_str() {
            "" => "master",
            "missing" => {
                let text =
                    "Cannot open database \"missing\" requested by the login. The login failed.";
                return Err(SqlError::new(4060, 11, 1, text));
            }
            other => other,
        };
        Ok(Box::new(ScriptedSession {
            script: Arc::clone(&self.0),
            database: database.to_owned(),
            resets: 0,
        }))
    }
}

struct ScriptedSession {
    script: Arc<Script>,
    database: String,
    resets: i32,
}

fn column(name: &str, ty: SqlType, nullable: bool) -> Column {
    Column {
        name: name.to_owned(),
        ty,
        nullable,
        origin: Origin::Stored,
        label: Default::default(),
    }
}

impl ScriptedSession {
    fn batch(&self, text: &str, sink: &mut dyn ResultSink) -> Result<(), Cancelled> {
        let text = text.trim();
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        match word {
            "table" => {
                let table = self.script.table.lock().expect("not poisoned").clone();
                sink.columns(&table.0)?;
                for row in &table.1 {
                    sink.row(row)?;
                }
                sink.done(Some(table.1.len() as u64))
            }
            "count" => {
                let rows: i32 = rest.parse().expect("a number");
                sink.columns(&[column("n", SqlType::Int, false)])?;
                for n in 0..rows {
                    sink.row(&[Value::Int(n)])?;
                }
                sink.done(Some(rows as u64))
            }
            "call" => {
                sink.begin_call();
                sink.columns(&[column("n", SqlType::Int, false)])?;
                sink.row(&[Value::Int(5)])?;
                sink.done(Some(1))?;
                sink.end_call(Some(7))?;
                sink.done(None)
            }
            "fail" => {
                sink.done(Some(1))?;
                let mut error = SqlError::new(8134, 16, 1, "Divide by zero error encountered.");
                error.line = 3;
                error.procedure = "half".into();
                sink.message(&error)?;
                sink.done(None)
            }
            "die" => sink.message(&SqlError::new(21, 20, 1, "Warning: Fatal error 21 occurred.")),
            "endless" => {
                sink.columns(&[column("n", SqlType::BigInt, true)])?;
                loop {
                    sink.row(&[Value::BigInt(1)])?;
                }
            }
            "wait" => {
                self.script.waiting.notify_one();
                while !sink.is_cancelled() {
                    std::thread::yield_now();
                }
                self.script.cancelled.notify_one();
                Err(Cancelled)
            }
            "block" => {
                self.script.waiting.notify_one();
                let (interrupted, told) = &*self.script.interrupted;
                let interrupted = interrupted.lock().expect("not poisoned");
                drop(told.wait_while(interrupted, |interrupted| !*interrupted));
                self.script.cancelled.notify_one();
                Err(Cancelled)
            }
            "resets" => {
                sink.columns(&[column("", SqlType::Int, false)])?;
                sink.row(&[Value::Int(self.resets)])?;
                sink.done(Some(1))
            }
            "broken" => {
                sink.columns(&[column("n", SqlType::Int, true)])?;
                sink.row(&[Value::Bit(true)])
            }
            _ => {
                sink.message(&SqlError::new(102, 15, 1, format!("Incorrect syntax near '{word}'.")))
            }
        }
    }

    fn echo(&self, params: &[Param], sink: &mut dyn ResultSink) -> Result<(), Cancelled> {
        self.script.waiting.notify_one();
        let columns: Vec<Column> =
            params.iter().map(|param| column(&param.name, param.ty.clone(), true)).collect();
        let row: Vec<Value> = params.iter().map(|param| param.value.clone()).collect();
        sink.columns(&columns)?;
        sink.row(&row)?;
        sink.statement(StatementKind::Select);
        sink.done(Some(1))?;
        params.iter().filter(|param| param.output).try_for_each(|param| sink.return_value(param))
    }
}

impl Session for ScriptedSession {
    fn id(&self) -> u16 {
        51
    }

    fn database(&self) -> String {
        self.database.clone()
    }

    fn execute(&mut self, request: Request, sink: &mut dyn ResultSink) -> Result<(), Cancelled> {
        self.script.seen.lock().expect("not poisoned").push(request.clone());
        match request {
            Request::Batch(text) => self.batch(&text, sink),
            Request::Statement { params, .. } => self.echo(&params, sink),
            Request::Procedure { name, params } => {
                self.echo(&params, sink)?;
                sink.return_status(name.len() as i32)
            }
            Request::Transaction(TransactionRequest::Begin(_)) => {
                sink.env_change(&EnvChange::TransactionBegun(0x0102_0304_0506_0708))
            }
            Request::Transaction(TransactionRequest::Commit { .. }) => {
                sink.env_change(&EnvChange::TransactionCommitted(0x0102_0304_0506_0708))
            }
            Request::Transaction(TransactionRequest::Rollback { .. }) => {
                sink.env_change(&EnvChange::TransactionRolledBack(0x0102_0304_0506_0708))
            }
            Request::Transaction(TransactionRequest::Save(_)) | Request::Bulk { .. } => Ok(()),
        }
    }

    fn canceller(&self) -> Box<dyn Canceller> {
        Box::new(Interrupter(Arc::clone(&self.script.interrupted)))
    }

    fn reset(&mut self, _keep_transaction: bool) {
        self.resets += 1;
    }
}

async fn start_with(encryption: Encryption) -> (Wire, Arc<Script>) {
    let script = Arc::new(Script::default());
    let backend = Arc::new(Scripted(Arc::clone(&script)));
    let listen = "127.0.0.1:0".parse().expect("an address");
    let double = Wire::serve(listen, encryption, backend).await.expect("starts");
    (double, script)
}

async fn start() -> (Wire, Arc<Script>) {
    start_with(Encryption::Supported).await
}

type TestClient = Client<Compat<TcpStream>>;

fn config(encryption: EncryptionLevel) -> tiberius::Config {
    let mut config = tiberius::Config::new();
    config.authentication(AuthMethod::sql_server("sa", PASSWORD));
    config.encryption(encryption);
    config.trust_cert();
    config
}

async fn connect_with(double: &Wire, config: tiberius::Config) -> tiberius::Result<TestClient> {
    let tcp = TcpStream::connect(double.addr()).await.expect("listens");
    Client::connect(config, tcp.compat_write()).await
}

async fn connect(double: &Wire) -> TestClient {
    connect_with(double, config(EncryptionLevel::NotSupported)).await.expect("logs in")
}

/// The number of a server error.
fn number_of(error: tiberius::error::Error) -> u32 {
    error.code().unwrap_or_else(|| panic!("not a server error: {error}"))
}
