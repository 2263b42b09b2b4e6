//! The configuration file: one TOML file for a pipeline, read by every service of it.
//!
//! `LOCKSTEP_<SECTION>__<KEY>` and `LOCKSTEP_APPLY__<NAME>__<KEY>` variables override it (see
//! [`fn@load`]); unknown keys and variables are refused; secrets come from the file, a variable or a
//! file of their own, are always text, and are never printed.

mod default;
mod explain;
mod lenient;
mod load;
mod log;
#[cfg(test)]
mod schema;
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Pipeline {
    /// Prefix of the topics and key of the checkpoint: letters, digits, `.`, `_`, `-`.
    pub name: String,
    /// `full_load_and_cdc`; or `full_load`, which ends when the copy is consistent; or `cdc`, changes only.
    #[serde(default)]
    pub task: Task,
}

/// What a pipeline does with its source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Task {
    /// Copies the rows that are there, and ends when the copy is consistent.
    FullLoad,
    /// Copies the rows that are there and follows the changes.
    #[default]
    FullLoadAndCdc,
    /// Follows the changes only.
    Cdc,
}

/// `[source]`: the database that is followed.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Source {
    /// What it is: `sqlserver`.
    #[serde(default)]
    pub kind: SourceKind,
    /// Host name or address of the SQL Server.
    pub host: String,
    /// TCP port.
    #[serde(default = "default::source_port")]
    pub port: u16,
    /// Database.
    pub database: String,
    /// SQL Server login.
    pub user: String,
    /// Its password; never printed. Or `password_file`.
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub password: Option<Secret>,
    /// File that holds the password, read at each connect.
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub password_file: Option<PathBuf>,
    /// How much of a connection is encrypted: `required`, `login` or `off`.
    #[serde(default)]
    pub encrypt: Encrypt,
    /// Accept any server certificate: for test servers.
    #[serde(default)]
    pub trust_server_certificate: bool,
    /// Certificate authority (PEM) to trust beside the system's. Not with `trust_server_certificate`.
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub ca_file: Option<PathBuf>,
    /// Tables to follow, `["dbo.orders", …]`; none for every table that has a capture instance which the
    /// login may read.
    #[serde(default, deserialize_with = "lenient::toml")]
    pub tables: Vec<String>,
}

/// Which databases can be followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum SourceKind {
    /// Microsoft SQL Server, by change data capture.
    #[default]
    Sqlserver,
}

/// How much of a source connection is encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Log {
    /// Apache Kafka.
    Kafka(KafkaLog),
    /// The embedded log: one process, one directory.
    Embedded(EmbeddedLog),
}

/// A Kafka log.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct KafkaLog {
    /// `host:port,…`
    pub brokers: String,
    /// Settings handed to librdkafka as they are: `security.protocol`, `sasl.*`, `ssl.*`, …
    #[cfg_attr(test, schemars(default, with = "BTreeMap<String, String>"))]
    pub properties: BTreeMap<String, Secret>,
    /// Replication factor of topics that Lockstep creates; -1 is the broker's default.
    #[cfg_attr(test, schemars(default = "default::replication"))]
    pub replication: i32,
    /// Retention of a created `<pipeline>.transactions`; none keeps everything.
    #[serde(with = "humantime_serde")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub retention: Option<Duration>,
    /// Bytes after which a Kafka transaction is committed.
    #[cfg_attr(test, schemars(default = "default::transaction_bytes", with = "String"))]
    pub transaction_bytes: ByteSize,
    /// Time after which a Kafka transaction is committed.
    #[serde(with = "humantime_serde")]
    #[cfg_attr(test, schemars(default = "default::transaction_time", with = "String"))]
    pub transaction_time: Duration,
}

/// An embedded log.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct EmbeddedLog {
    /// Directory, made when absent.
    #[cfg_attr(test, schemars(with = "String"))]
    pub path: PathBuf,
    /// Age after which records may go; none keeps everything.
    #[serde(with = "humantime_serde")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub retention: Option<Duration>,
}

/// `[http]`: who may ask the services, at whichever address.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Http {
    /// Names, beside the machine's own, by which the services may be asked:
    /// [docs/monitoring.md](docs/monitoring.md).
    #[serde(deserialize_with = "lenient::toml")]
    pub hosts: Vec<String>,
    /// File with the bearer token of every request, read at each; without one, only the machine itself may
    /// have a table loaded.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub token_file: Option<PathBuf>,
    /// Answer on after a halt, until SIGTERM or SIGINT, so that what happened is seen from outside.
    pub stay_after_halt: bool,
}

/// `[capture]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Capture {
    /// Wait between polls of an idle source.
    #[serde(with = "humantime_serde")]
    #[cfg_attr(test, schemars(with = "String"))]
    pub poll_interval: Duration,
    /// Connections to the source.
    pub max_connections: usize,
    /// Source transactions read at once.
    pub window_transactions: u32,
    /// Rows of a page when more tables changed than there are connections.
    pub page_rows: u32,
    /// A larger single value halts.
    #[cfg_attr(test, schemars(with = "String"))]
    pub max_value_bytes: ByteSize,
    /// Progress records of an idle source are at least this far apart.
    #[serde(with = "humantime_serde")]
    #[cfg_attr(test, schemars(with = "String"))]
    pub progress_interval: Duration,
    /// Where a new log begins under the task `cdc`: `earliest` (which none is), `now`, `time:T` or
    /// `position:P`. The tasks that load begin `now`.
    pub start: Option<String>,
    /// `time:T` or `position:P`: the last transaction written is the last one at or before it.
    pub stop: Option<String>,
    /// How a full load and the stream are fitted together: `bracketed` or `exact`
    /// ([docs/full-load.md](docs/full-load.md)).
    pub handoff: Handoff,
    /// Connections that read rows of a full load, beside `max_connections`.
    pub load_readers: usize,
    /// About how many rows one of them reads at once.
    pub chunk_rows: u32,
    /// A captured table, `schema.table`, that capture may write to: then an idle source need not be waited
    /// for, neither by a load nor by `stop`.
    pub signal_table: Option<String>,
    /// How long the exact handoff waits for the locks that freeze its tables.
    #[serde(with = "humantime_serde")]
    #[cfg_attr(test, schemars(with = "String"))]
    pub lock_timeout: Duration,
    /// Address of `/livez /readyz /metrics /status` and the dashboard; none for no server.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub http: Option<SocketAddr>,
}

/// `[apply.<name>]`: one target.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Apply {
    /// Host name or address of the PostgreSQL server, or its socket's directory.
    pub host: String,
    /// TCP port.
    #[serde(default = "default::target_port")]
    pub port: u16,
    /// Database.
    pub database: String,
    /// Role.
    pub user: String,
    /// Its password; never printed. Or `password_file`; or none.
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub password: Option<Secret>,
    /// File that holds the password, read at each connect.
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub password_file: Option<PathBuf>,
    /// Over TCP: `verify_full` verifies certificate and name. Weaker in words: `require`, `prefer`,
    /// `disable` ([what each allows](docs/postgresql-setup.md#transport)).
    #[serde(default)]
    pub tls: TargetTls,
    /// Certificate authorities (PEM) to trust beside the system's. With it certificate and name are always
    /// verified.
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub ca_file: Option<PathBuf>,
    /// Client certificate (PEM), with those that vouch for it.
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub cert_file: Option<PathBuf>,
    /// Its private key (PEM).
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub key_file: Option<PathBuf>,
    /// Create target tables that are missing.
    #[serde(default = "default::yes")]
    pub create_tables: bool,
    /// Target schema by source schema, `{ dbo = "public" }`; one not named keeps its name.
    #[serde(default, deserialize_with = "lenient::toml")]
    pub schemas: BTreeMap<String, String>,
    /// `keep`, or `lower`: names in lower case.
    #[serde(default)]
    pub names: NameRule,
    /// Where a target without a checkpoint begins: `earliest` (which none is), `now`, `offset:N`,
    /// `position:P` or `time:T`.
    #[serde(default)]
    pub start: Option<String>,
    /// What is done with a transaction that the target refuses: `halt`, `exceptions` (set aside whole),
    /// `converge` (forced in by upserts).
    #[serde(default)]
    pub on_conflict: ConflictPolicy,
    /// `group` or `strict`: when commits are flushed ([docs/guarantees.md](docs/guarantees.md)).
    #[serde(default)]
    pub durability: Durability,
    /// How many whole source transactions may share a commit while apply catches up.
    #[serde(default = "default::group_commit")]
    pub group_commit: NonZeroU32,
    /// How long such a commit may gather them.
    #[serde(default = "default::group_commit_time", with = "humantime_serde")]
    #[cfg_attr(test, schemars(with = "String"))]
    pub group_commit_time: Duration,
    /// Connections that commits are written on in parallel, in the source's order; more pay with
    /// `group_commit` and a target of many processors.
    #[serde(default = "default::connections")]
    pub connections: NonZeroUsize,
    /// Directory of the spool, made when absent.
    #[cfg_attr(test, schemars(with = "String"))]
    pub spool: PathBuf,
    /// Disk for waiting transactions, of which one must fit; the store takes up to 40 MiB more. Beyond it,
    /// reading from the log stops.
    #[serde(default = "default::spool_budget")]
    #[cfg_attr(test, schemars(with = "String"))]
    pub spool_budget: ByteSize,
    /// Memory for waiting transactions.
    #[serde(default = "default::memory")]
    #[cfg_attr(test, schemars(with = "String"))]
    pub memory: ByteSize,
    /// What a full load does with target tables that are there: `create` wants them empty; `truncate`,
    /// `drop_and_create`, `keep`.
    #[serde(default)]
    pub prepare: Prepare,
    /// The explicit yes that `drop_and_create` needs.
    #[serde(default)]
    pub drop_tables: bool,
    /// Connections that copy rows of a full load, beside the one that follows the stream.
    #[serde(default = "default::load_connections")]
    pub load_connections: usize,
    /// Make indexes, constraints, defaults and identities once a load is consistent.
    #[serde(default = "default::yes")]
    pub constraints: bool,
    /// PostgreSQL types by source type, with or without its limits, `{ rowversion = "bigint" }`:
    /// [docs/types.md](docs/types.md#other-types-by-configuration).
    #[serde(default, deserialize_with = "lenient::toml")]
    pub types: BTreeMap<String, String>,
    /// PostgreSQL types by source column, `{ "dbo.orders.note" = "citext" }`, before `types`. A name with a
    /// dot stands in brackets.
    #[serde(default, deserialize_with = "lenient::toml")]
    pub columns: BTreeMap<String, String>,
    /// `halt`, or `replace`: U+FFFD for U+0000 and lone surrogates, which PostgreSQL cannot store.
    #[serde(default)]
    pub invalid_text: InvalidText,
    /// What to do about triggers of target tables that fire for what apply writes: `refuse` such tables, or
    /// `allow` them what they do to rows and values
    /// ([triggers](docs/postgresql-setup.md#triggers-rules-and-tables-that-do-not-keep-rows)).
    #[serde(default)]
    pub triggers: TriggerPolicy,
    /// Suffix of the columns that the offsets of `datetimeoffset` columns go to, such as `_offset`; none
    /// for no such columns.
    #[serde(default)]
    pub offset_columns: Option<String>,
    /// `exact`, or `icu`: created keys compare as the source's do, without case or accents.
    #[serde(default)]
    pub key_collation: KeyCollation,
    /// Address of `/livez /readyz /metrics /status` and the dashboard; none for no server.
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub http: Option<SocketAddr>,
}

/// What to do with text that PostgreSQL cannot store: with U+0000 or a lone surrogate in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Durability {
    /// Every so many commits or milliseconds; only what is flushed is acknowledged. After a crash
    /// of the target the tail goes together with its checkpoint and is replayed from the log.
    #[default]
    Group,
    /// Every commit.
    Strict,
}
