//! Defaults of keys that a file may leave out. Keys that it must have are empty here: who makes a section in
//! code names them.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;

use super::{Apply, Capture, EmbeddedLog, Handoff, KafkaLog, Pipeline, Source, Task};

impl Default for Pipeline {
    fn default() -> Self {
        Pipeline { name: "lockstep".to_owned(), task: Task::default() }
    }
}

impl Default for Source {
    fn default() -> Self {
        Source {
            kind: Default::default(),
            host: "localhost".to_owned(),
            port: source_port(),
            database: String::new(),
            user: String::new(),
            password: None,
            password_file: None,
            encrypt: Default::default(),
            trust_server_certificate: false,
            ca_file: None,
            tables: Vec::new(),
        }
    }
}

impl Default for KafkaLog {
    fn default() -> Self {
        KafkaLog {
            brokers: String::new(),
            properties: BTreeMap::new(),
            replication: replication(),
            retention: None,
            transaction_bytes: transaction_bytes(),
            transaction_time: transaction_time(),
        }
    }
}

impl Default for EmbeddedLog {
    fn default() -> Self {
        EmbeddedLog { path: PathBuf::new(), retention: None }
    }
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

impl Default for Apply {
    fn default() -> Self {
        Apply {
            host: "localhost".to_owned(),
            port: target_port(),
            database: String::new(),
            user: String::new(),
            password: None,
            password_file: None,
            tls: Default::default(),
            ca_file: None,
            cert_file: None,
            key_file: None,
            create_tables: yes(),
            schemas: BTreeMap::new(),
            names: Default::default(),
            start: None,
            on_conflict: Default::default(),
            durability: Default::default(),
            group_commit: group_commit(),
            group_commit_time: group_commit_time(),
            connections: connections(),
            spool: PathBuf::new(),
            spool_budget: spool_budget(),
            memory: memory(),
            prepare: Default::default(),
            drop_tables: false,
            load_connections: load_connections(),
            constraints: yes(),
            types: BTreeMap::new(),
            columns: BTreeMap::new(),
            invalid_text: Default::default(),
            triggers: Default::default(),
            offset_columns: None,
            key_collation: Default::default(),
            http: None,
        }
    }
}

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

#[cfg(test)]
mod tests {
    use crate::config::Config;

    /// A section made in code is what a file without the keys makes.
    #[test]
    fn a_default_is_what_a_file_that_leaves_a_key_out_has() {
        let file = "[pipeline]\nname = \"lockstep\"\n[source]\nhost = \"localhost\"\ndatabase = \"\"\nuser = \"\"\n\
            [log]\nkind = \"embedded\"\npath = \"\"\n[apply.main]\nhost = \"localhost\"\ndatabase = \"\"\nuser = \"\"\n\
            spool = \"\"\n";
        let read: Config = toml::from_str(file).expect("it is read");
        let shown = |value: &dyn std::fmt::Debug| format!("{value:?}");
        assert_eq!(shown(&read.pipeline), shown(&super::Pipeline::default()));
        assert_eq!(shown(&read.source.expect("a source")), shown(&super::Source::default()));
        assert_eq!(shown(&read.capture), shown(&super::Capture::default()));
        assert_eq!(shown(&read.apply["main"]), shown(&super::Apply::default()));
        let kafka = file.replace("embedded", "kafka").replace("path = ", "brokers = ");
        let read: Config = toml::from_str(&kafka).expect("it is read");
        let log = super::super::Log::Kafka(super::KafkaLog::default());
        assert_eq!(shown(&read.log), shown(&log));
    }
}
