//! The configuration file: one TOML file for a pipeline, read by every service of it.
//!
//! `LOCKSTEP_<SECTION>__<KEY>` and `LOCKSTEP_APPLY__<NAME>__<KEY>` variables override it (see
//! [`fn@load`]); unknown keys and variables are refused; secrets come from the file, a variable or a
//! file of their own, are always text, and are never printed.

mod explain;
mod lenient;
mod load;
mod log;
mod secret;
mod source;
#[cfg(test)]
mod tests;
mod transport;
mod variables;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

pub use crate::model::load::Handoff;
pub use load::{ConfigError, load, parse};
pub use secret::Secret;
pub use transport::Weakness;

/// The whole file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `[pipeline]`
    pub pipeline: Pipeline,
    /// `[source]`; a machine that only applies needs none.
    pub source: Option<Source>,
    /// `[log]`
    pub log: Log,
    /// `[http]`
    #[serde(default)]
    pub http: Http,
    /// `[capture]`
    #[serde(default)]
    pub capture: Capture,
    /// `[apply.<name>]`
    #[serde(default)]
    pub apply: BTreeMap<String, Apply>,
}

/// `[pipeline]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// Name; prefix of the topics and the checkpoint's key. Letters, digits, `.`, `_`, `-`.
    pub name: String,
    /// What is to be done with the source.
    #[serde(default)]
    pub task: Task,
}

/// What a pipeline does with its source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Copies the rows that are there, and ends when the copy is consistent.
    FullLoad,
    /// Copies the rows that are there and follows the changes.
    #[default]
    FullLoadAndCdc,
    /// Follows the changes only.
    Cdc,
}

/// `[source]`: the SQL Server database.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    #[serde(default = "default::source_port")]
    pub port: u16,
    /// Database.
    pub database: String,
    /// SQL Server login.
    pub user: String,
    /// Its password; or `password_file`.
    #[serde(default)]
    pub password: Option<Secret>,
    /// File that holds the password.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// TLS.
    #[serde(default)]
    pub encrypt: Encrypt,
    /// Accept any server certificate. Only for test servers.
    #[serde(default)]
    pub trust_server_certificate: bool,
    /// Certificate authority (PEM) to trust beside the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Tables to follow, as `schema.table`; empty for every table that has a capture instance the
    /// login may read.
    #[serde(default, deserialize_with = "lenient::toml")]
    pub tables: Vec<String>,
}

/// How much of a source connection is encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Encrypt {
    /// All of it.
    #[default]
    Required,
    /// The login only.
    Login,
    /// Nothing.
    Off,
}

/// `[log]`
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Log {
    /// Apache Kafka.
    Kafka(KafkaLog),
    /// The embedded log: one process, one directory.
    Embedded(EmbeddedLog),
}

/// A Kafka log.
#[derive(Clone, Debug, Serialize)]
pub struct KafkaLog {
    /// `host:port,…`
    pub brokers: String,
    /// Settings handed to librdkafka as they are (`security.protocol`, `sasl.*`, `ssl.*`, …).
    pub properties: BTreeMap<String, Secret>,
    /// Replication factor of topics that Lockstep creates; -1 is the broker's default.
    pub replication: i32,
    /// Retention of a created `<pipeline>.transactions`; none keeps everything.
    #[serde(with = "humantime_serde")]
    pub retention: Option<Duration>,
    /// Bytes after which a Kafka transaction is committed.
    pub transaction_bytes: ByteSize,
    /// Time after which a Kafka transaction is committed.
    #[serde(with = "humantime_serde")]
    pub transaction_time: Duration,
}

/// An embedded log.
#[derive(Clone, Debug, Serialize)]
pub struct EmbeddedLog {
    /// Directory, made when absent.
    pub path: PathBuf,
    /// Age after which records may go; none keeps everything.
    #[serde(with = "humantime_serde")]
    pub retention: Option<Duration>,
}

/// `[http]`: who may ask the services, at whichever address.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Names that the services are asked by, without ports, beside `localhost` and the address that a
    /// connection comes in at. A request for another host is refused.
    #[serde(deserialize_with = "lenient::toml")]
    pub hosts: Vec<String>,
    /// File that holds the bearer token of every request, read at each; none asks for no token, and
    /// lets requests that change something through from the machine itself only.
    pub token_file: Option<PathBuf>,
    /// Keep answering after a halt, until SIGTERM or SIGINT, so that what happened is seen from outside.
    pub stay_after_halt: bool,
}

/// `[capture]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Capture {
    /// Wait between polls of an idle source.
    #[serde(with = "humantime_serde")]
    pub poll_interval: Duration,
    /// Connections to the source.
    pub max_connections: usize,
    /// Source transactions in a window.
    pub window_transactions: u32,
    /// Rows of a page when more instances changed than there are connections.
    pub page_rows: u32,
    /// Largest single value. A larger one halts.
    pub max_value_bytes: ByteSize,
    /// Progress records on an idle source are at least this far apart.
    #[serde(with = "humantime_serde")]
    pub progress_interval: Duration,
    /// Where the task `cdc` starts when the log is new: `now`, `earliest`, `time:RFC3339` or a
    /// position such as `1/00000027:00000758:0005`. The tasks that load start at `now`.
    pub start: Option<String>,
    /// Where capture ends, as `time:RFC3339` or a position: the last transaction written is the
    /// last one at or before it.
    pub stop: Option<String>,
    /// How a full load and the stream are fitted together.
    pub handoff: Handoff,
    /// Connections that read rows of a full load, beside `max_connections`.
    pub load_readers: usize,
    /// About how many rows a chunk of a full load has.
    pub chunk_rows: u32,
    /// A captured table, as `schema.table`, that capture may insert into and delete from: a row
    /// written there marks a place in the stream at once, where otherwise the source's own next
    /// commits have to be waited for.
    pub signal_table: Option<String>,
    /// How long the exact handoff waits for the locks that freeze its tables.
    #[serde(with = "humantime_serde")]
    pub lock_timeout: Duration,
    /// Address of `/livez /readyz /metrics /status`; none for no server.
    pub http: Option<SocketAddr>,
}

impl Default for Capture {
    fn default() -> Self {
        Capture {
            poll_interval: Duration::from_millis(250),
            max_connections: 8,
            window_transactions: 2000,
            page_rows: 5000,
            max_value_bytes: ByteSize::mib(256),
            progress_interval: Duration::from_secs(10),
            start: None,
            stop: None,
            handoff: Handoff::Bracketed,
            load_readers: 4,
            chunk_rows: 100_000,
            signal_table: None,
            lock_timeout: Duration::from_secs(10),
            http: None,
        }
    }
}

/// `[apply.<name>]`: one target.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Apply {
    /// Host name, address or socket directory.
    pub host: String,
    /// TCP port.
    #[serde(default = "default::target_port")]
    pub port: u16,
    /// Database.
    pub database: String,
    /// Role.
    pub user: String,
    /// Its password; or `password_file`; or none.
    #[serde(default)]
    pub password: Option<Secret>,
    /// File that holds the password.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// TLS of TCP connections: `verify_full`, or in words `require` (no verification), `prefer`,
    /// `disable`.
    #[serde(default)]
    pub tls: TargetTls,
    /// Certificate authorities (PEM) to trust beside the system's. With it the server's certificate
    /// and name are always verified.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Certificate (PEM) that tells the server who this is, with those that vouch for it.
    #[serde(default)]
    pub cert_file: Option<PathBuf>,
    /// Its private key (PEM).
    #[serde(default)]
    pub key_file: Option<PathBuf>,
    /// Create target tables that do not exist.
    #[serde(default = "default::yes")]
    pub create_tables: bool,
    /// Target schema for a source schema; one not named keeps its name.
    #[serde(default, deserialize_with = "lenient::toml")]
    pub schemas: BTreeMap<String, String>,
    /// How names are carried over.
    #[serde(default)]
    pub names: NameRule,
    /// Where to start on a target without a checkpoint: `earliest`, `offset:N`, `position:P` (an
    /// LSN with its timeline) or `time:RFC3339`. A target with a checkpoint goes on from it.
    #[serde(default)]
    pub start: Option<String>,
    /// What to do with a transaction that the target refuses.
    #[serde(default)]
    pub on_conflict: ConflictPolicy,
    /// When a commit is flushed to the target's disk.
    #[serde(default)]
    pub durability: Durability,
    /// Source transactions that may share a commit while apply catches up; 1 for none.
    #[serde(default = "default::group_commit")]
    pub group_commit: NonZeroU32,
    /// How long such a commit may gather them.
    #[serde(default = "default::group_commit_time", with = "humantime_serde")]
    pub group_commit_time: Duration,
    /// Connections that commits are written on side by side, in the order of the source; more than one
    /// pays with `group_commit` and a target of many processors.
    #[serde(default = "default::connections")]
    pub connections: NonZeroUsize,
    /// Directory of the spool, made when absent.
    pub spool: PathBuf,
    /// Disk the spool may take; beyond it, reading from the log stops.
    #[serde(default = "default::spool_budget")]
    pub spool_budget: ByteSize,
    /// Memory for transactions between log and target.
    #[serde(default = "default::memory")]
    pub memory: ByteSize,
    /// What a full load does with target tables before it begins.
    #[serde(default)]
    pub prepare: Prepare,
    /// The explicit yes that `prepare = "drop_and_create"` needs.
    #[serde(default)]
    pub drop_tables: bool,
    /// Connections that copy rows of a full load, beside the one that follows the stream.
    #[serde(default = "default::load_connections")]
    pub load_connections: usize,
    /// Make indexes, foreign keys, checks, defaults and identities once a load is consistent.
    #[serde(default = "default::yes")]
    pub constraints: bool,
    /// PostgreSQL type by source type, with or without its limits: `"datetime2(7)" = "text"`.
    #[serde(default, deserialize_with = "lenient::toml")]
    pub types: BTreeMap<String, String>,
    /// PostgreSQL type by source column, as `schema.table.column`; beats `types`. A name with a dot
    /// stands in brackets.
    #[serde(default, deserialize_with = "lenient::toml")]
    pub columns: BTreeMap<String, String>,
    /// What to do with text that PostgreSQL cannot store.
    #[serde(default)]
    pub invalid_text: InvalidText,
    /// What to do about triggers of target tables that fire for what apply writes.
    #[serde(default)]
    pub triggers: TriggerPolicy,
    /// What the name of a `datetimeoffset` column has behind it in the name of the column that its
    /// offset goes to, in minutes; none for no such columns.
    #[serde(default)]
    pub offset_columns: Option<String>,
    /// How created tables compare keys of text.
    #[serde(default)]
    pub key_collation: KeyCollation,
    /// Address of `/livez /readyz /metrics /status`; none for no server.
    #[serde(default)]
    pub http: Option<SocketAddr>,
}

/// What to do with text that PostgreSQL cannot store: with U+0000 or a lone surrogate in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum InvalidText {
    /// Refuse the value; `on_conflict` decides.
    #[default]
    Halt,
    /// Write U+FFFD for each such character.
    Replace,
}

/// What to do about triggers of target tables that fire for what apply writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TriggerPolicy {
    /// Write nothing into such a table.
    #[default]
    Refuse,
    /// Let them fire: what they do to rows and values is wanted.
    Allow,
}

/// How created tables compare the text of primary keys and unique indexes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyCollation {
    /// By their characters.
    #[default]
    Exact,
    /// As the source's collation does, as far as ICU can: without case, without accents.
    Icu,
}

/// What a full load does with target tables before it begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Prepare {
    /// Makes tables that are absent; one that is there must be empty.
    #[default]
    Create,
    /// Makes tables that are absent, empties those that are there.
    Truncate,
    /// Drops tables that are there, and makes all of them. Needs `drop_tables = true`.
    DropAndCreate,
    /// Leaves tables and their rows: rows of the load replace those with the same key.
    Keep,
}

/// TLS towards the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetTls {
    /// None.
    Disable,
    /// Encrypted where the server can, in the clear otherwise.
    Prefer,
    /// Encrypted, the server's certificate not verified.
    Require,
    /// Encrypted, certificate and name verified.
    #[default]
    VerifyFull,
}

/// How source names become target names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NameRule {
    /// As they are.
    #[default]
    Keep,
    /// In lower case.
    Lower,
}

/// What to do with a transaction that the target refuses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ConflictPolicy {
    /// Stop and say so.
    #[default]
    Halt,
    /// Set the whole transaction aside with its error and go on; the target has diverged.
    Exceptions,
    /// Upsert: an insert of a present row updates it, an update of an absent row inserts it, a
    /// delete of an absent row is done.
    Converge,
}

/// When commits are flushed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// Every so many commits or milliseconds; only what is flushed is acknowledged. After a crash
    /// of the target the tail goes together with its checkpoint and is replayed from the log.
    #[default]
    Group,
    /// Every commit.
    Strict,
}

mod default {
    use super::{ByteSize, Duration, NonZeroU32, NonZeroUsize};

    pub(super) fn connections() -> NonZeroUsize {
        NonZeroUsize::MIN
    }
    pub(super) fn group_commit() -> NonZeroU32 {
        NonZeroU32::MIN
    }
    pub(super) fn group_commit_time() -> Duration {
        Duration::from_millis(50)
    }
    pub(super) fn source_port() -> u16 {
        1433
    }
    pub(super) fn target_port() -> u16 {
        5432
    }
    pub(super) fn replication() -> i32 {
        -1
    }
    pub(super) fn yes() -> bool {
        true
    }
    pub(super) fn transaction_bytes() -> ByteSize {
        ByteSize::mib(8)
    }
    pub(super) fn transaction_time() -> Duration {
        Duration::from_millis(50)
    }
    pub(super) fn spool_budget() -> ByteSize {
        ByteSize::gib(10)
    }
    pub(super) fn load_connections() -> usize {
        4
    }
    pub(super) fn memory() -> ByteSize {
        ByteSize::mib(64)
    }
}
