//! Every error code of the services: what it means, what a service does with it, what to do.
//!
//! This is the only place where that is said. [`Code`] is what a [`Failure`](crate::Failure) carries
//! and what code compares; `docs/errors.md` has its tables from here (a test compares, and writes
//! them with `UPDATE=1`). A code has one [`Disposition`]: what the disposition depends on is a
//! matter of two codes.

use crate::Disposition::{self, Fenced, Halt, Retry, Wait};

/// Makes the enum, and its table, from one list:
///
/// ```text
/// Group, "heading" {
///     /// What it means.
///     Variant = "code.of.it", Disposition, "what to do";
/// }
/// ```
macro_rules! codes {
    ($($group:ident, $heading:literal {
        $($(#[doc = $meaning:literal])+ $name:ident = $text:literal, $disposition:ident, $remedy:literal;)+
    })+) => {
        /// An error's code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code {
            $($($(#[doc = $meaning])+ $name,)+)+
        }

        /// The parts of the documentation that codes are listed in.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Group {
            $(#[doc = $heading] $group,)+
        }

        /// Every group, in the order of the documentation.
        pub const GROUPS: &[Group] = &[$(Group::$group),+];

        impl Group {
            /// Its heading in the documentation.
            pub fn heading(self) -> &'static str {
                match self { $(Group::$group => $heading),+ }
            }

            /// Its codes, in the order of the documentation.
            pub fn codes(self) -> &'static [Code] {
                match self { $(Group::$group => &[$(Code::$name),+]),+ }
            }
        }

        impl Code {
            /// The stable text, e.g. `source.gap`.
            pub const fn as_str(self) -> &'static str {
                match self { $($(Code::$name => $text,)+)+ }
            }

            /// The part of the documentation that has it: whose failure it is.
            pub const fn group(self) -> Group {
                match self { $($(Code::$name => Group::$group,)+)+ }
            }

            /// What a service does with it.
            pub const fn disposition(self) -> Disposition {
                match self { $($(Code::$name => $disposition,)+)+ }
            }

            /// What it means, as the documentation says it.
            pub fn meaning(self) -> String {
                let lines: &[&str] = match self { $($(Code::$name => &[$($meaning),+],)+)+ };
                lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
            }

            /// What to do about it in general, in Markdown; a failure says it for its own case.
            pub const fn remedy(self) -> &'static str {
                match self { $($(Code::$name => $remedy,)+)+ }
            }
        }
    };
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

codes! {
    Source, "Source (capture)" {
        /// no TCP connection, or none in time: the address, the network, or the server is down
        SourceUnreachable = "source.unreachable", Retry, "";
        /// the connection was lost, or the server ended it (severity 20 and above: see its log)
        SourceConnection = "source.connection", Retry, "";
        /// the log-scan session is taken, tables could not be frozen in time, or the server is out
        /// of memory, locks or threads
        SourceBusy = "source.busy", Retry, "";
        /// somebody else's lock was in the way (1222), or a deadlock was lost (1205). Seen while a
        /// program starts; a running stream or load asks again without ending anything
        SourceLocked = "source.locked", Retry, "";
        /// the server or database is starting, stopping, being patched, failing over or moving; a
        /// database that the log has followed and that cannot be opened now; any answer to a login
        /// that is not about its credentials; a login that one server after the other sends on
        SourceUnavailable = "source.unavailable", Retry, "";
        /// shown while the source has not answered a statement for 10 s; the statement is given up
        /// after a minute
        SourceSilent = "source.silent", Retry, "";
        /// the capture job has not come to an instance yet, an instance has no low-water mark, or a
        /// followed instance is gone while another covers the position
        SourceInstanceNotYet = "source.instance_not_yet", Retry, "";
        /// a snapshot, an index or a table's shape went away while rows were read: they are read
        /// again
        SourceLoadAgain = "source.load_again", Retry, "";
        /// the source, or a load, takes long to stop
        SourceStopping = "source.stopping", Retry, "";
        /// a table has a new capture instance, under the task `cdc`: capture begins again with it
        SourceNewInstance = "source.new_instance", Retry, "";
        /// DDL appeared in a window that was being read: the window is read again up to it
        SourceDdlAppeared = "source.ddl_appeared", Retry, "";
        /// the server refuses the login
        SourceLogin = "source.login", Halt,
            "check `source.user`, `source.password` or `source.password_file`";
        /// the server refuses a login that it accepted before: its password is being changed, or it
        /// was disabled
        SourceLoginRefused = "source.login_refused", Wait,
            "give the login back its rights, or write the new password into \
             `source.password_file`, which is read at every attempt";
        /// `source.password_file` cannot be read
        SourcePassword = "source.password", Halt, "check the path and its rights";
        /// no such database, or the login has no user in it
        SourceDatabase = "source.database", Halt, "check `source.database`";
        /// no TLS connection could be made at the first attempt
        SourceTls = "source.tls", Halt,
            "name the authority of the certificate in `source.ca_file`; for a test server \
             `source.trust_server_certificate = true`; for a server without TLS set \
             `source.encrypt`";
        /// a right is missing
        SourcePermission = "source.permission", Halt,
            "`GRANT SELECT` on the tables and on their change tables; `lockstep check` names them";
        /// a column that is read has a mask, and the login may not see behind it
        SourceMasked = "source.masked", Halt, "GRANT UNMASK, on the table and on its change table";
        /// a security policy filters a captured table's rows; or a table shows fewer rows than the
        /// server holds
        SourceFiltered = "source.filtered", Halt,
            "drop the filter predicate; VIEW DEFINITION shows which";
        /// change data capture is not enabled in the database
        SourceCdcOff = "source.cdc_off", Halt,
            "enable it; if it was enabled before, changes since are lost: begin anew";
        /// the login may read no capture instance; captured tables that it sees are named with the
        /// grant
        SourceNoInstances = "source.no_instances", Halt,
            "`sys.sp_cdc_enable_table` and the grants of [sqlserver-setup.md](sqlserver-setup.md)";
        /// a table of `source.tables` has no instance that may be read; a change table cannot be
        /// seen; or a followed table can no longer be followed
        SourceInstance = "source.instance", Halt,
            "enable and grant; take it out of `source.tables`; if changes were missed, begin a \
             new pipeline";
        /// an object or column that was there is gone (errors 207, 208, 313, 2812)
        SourceMissing = "source.missing", Halt,
            "`lockstep check` says which: capture was disabled, or an instance dropped or altered";
        /// cleanup deleted changes that were not read, or the start is below the change table's
        /// low-water mark
        SourceGap = "source.gap", Halt,
            "load the target anew with a new pipeline; raise the retention";
        /// a changed row has a MAX value that no change has
        SourceLeftOut = "source.left_out", Halt,
            "begin a new pipeline; assign such values whole, and along with a change of the key; \
             report it";
        /// transactional replication runs beside capture and divides transactions
        SourceSplit = "source.split", Halt,
            "`MaxCmdsInTran` 0 for the Log Reader Agent; begin a new pipeline";
        /// the source's history is not the one of the log: restored, failed over with loss,
        /// re-created, or capture disabled and enabled; or rows of a load were read when it had come
        /// to a commit that is gone
        SourceRewound = "source.rewound", Halt, "begin a new pipeline, or load the target anew";
        /// a captured column or the key of a followed table was altered at the LSN that is named;
        /// everything before is in the log (constraints, indexes and columns that are not captured
        /// are passed, and status says so)
        SourceDdl = "source.ddl", Halt,
            "bring the target to the new shape, make a capture instance with it, begin a new \
             pipeline";
        /// a table's captured columns, its key or its change table are not those that the log has,
        /// or that were settled on
        SourceShape = "source.shape", Halt,
            "make a capture instance with the present shape and begin a new pipeline";
        /// a captured column has a type that is not followed: [types.md](types.md)
        SourceType = "source.type", Halt, "leave the column or the table out";
        /// a value cannot be decoded, or is above `capture.max_value_bytes`
        SourceValue = "source.value", Halt, "raise the limit if it is that, else report it";
        /// the log's position, or `capture.start`, is not one of a SQL Server database
        SourcePosition = "source.position", Halt,
            "use `now`, `earliest` or a position such as `1/00000027:00000758:0005`";
        /// the source has nothing left that was committed before the time of `capture.start`
        SourceStartTime = "source.start_time", Halt, "`earliest`, or a later time";
        /// a table of a full load that has not ended is no longer followed, or the login may not
        /// read it
        SourceLoad = "source.load", Halt,
            "put it back into `source.tables`; grant; or begin a new pipeline";
        /// the exact handoff may not learn the log's position, or cannot lock a table
        SourceFreeze = "source.freeze", Halt,
            "grant what the line names; or name a `capture.signal_table`";
        /// the exact handoff needs snapshot isolation, and the database does not allow it
        SourceSnapshotIsolation = "source.snapshot_isolation", Halt,
            "`ALTER DATABASE … SET ALLOW_SNAPSHOT_ISOLATION ON`, or `capture.handoff = \
             \"bracketed\"`";
        /// `capture.signal_table` is not captured, has a shape that cannot be used, or may not be
        /// written
        SourceSignalTable = "source.signal_table", Halt,
            "correct it as the line says, or leave it out";
        /// the change tables hold what SQL Server never writes (an update without its pair, rows
        /// out of order)
        SourceContradiction = "source.contradiction", Halt, "report it with the server's version";
        /// the server refuses a statement it should know, answers other than documented, or cannot
        /// be understood by the driver
        SourceStatement = "source.statement", Halt, "report it with the server's version";
        /// the server refuses a statement it should know, answers other than documented, or cannot
        /// be understood by the driver
        SourceMetadata = "source.metadata", Halt, "report it with the server's version";
        /// the server refuses a statement it should know, answers other than documented, or cannot
        /// be understood by the driver
        SourceDriver = "source.driver", Halt, "report it with the server's version";
        /// a reader ended without saying why
        SourceInternal = "source.internal", Halt, "report it with the program's log";
    }
    Configuration, "Configuration" {
        /// `capture.start` cannot be read, or is set for a task that loads
        ConfigStart = "config.start", Halt, "as above; remove it, or set `pipeline.task = \"cdc\"`";
        /// `capture.stop` cannot be read, or is reached before the full load is consistent
        ConfigStop = "config.stop", Halt, "remove it or set it later: the load goes on where it is";
        /// `full_load` on a log that holds changes and no load
        ConfigTask = "config.task", Halt,
            "begin a new pipeline, or load single tables with `lockstep reload`";
    }
    Log, "Log, both kinds" {
        /// another writer of this log took over
        LogFenced = "log.fenced", Fenced, "leave it stopped";
        /// the program is ending
        LogStopping = "log.stopping", Retry, "";
        /// the log's topics or streams are not there
        LogNoStream = "log.no_stream", Halt,
            "capture makes them at its first start; if they were deleted, load the targets again";
        /// the log is not there yet, or not on every broker: capture makes it at its first start,
        /// and an apply whose target has no checkpoint waits for that
        LogNotYet = "log.not_yet", Retry, "";
        /// records that must be read next were removed or truncated
        LogGap = "log.gap", Halt, "restore the log, or load the target again";
        /// a start point or checkpoint that the stream does not hold
        LogOffsetOutOfRange = "log.offset_out_of_range", Halt,
            "choose an offset inside, restore the log, or load the target again";
        /// transactions and schemas belong to two different logs
        LogIdentity = "log.identity", Halt,
            "bring back those that belong together, or remove both and load the targets again";
        /// capture finds a log without records that had some
        LogEmptied = "log.emptied", Halt,
            "set `capture.start` to the position named, if every target is past it or can be \
             loaded anew; if a full load had begun and not ended, begin a new pipeline";
        /// a record is not what it must be
        LogCorruptRecord = "log.corrupt_record", Halt,
            "something else wrote to the log, or its storage is damaged";
        /// the schemas stream does not have the schema of a record
        LogUnknownSchema = "log.unknown_schema", Halt, "see that it is compacted, never trimmed";
        /// a schema or table version is used and did not appear in the schemas stream for 10 s
        LogUnknownId = "log.unknown_id", Halt, "as above";
        /// a newer version of Lockstep wrote what this one cannot read
        LogNewerWriter = "log.newer_writer", Halt, "upgrade this reader";
        /// only the transactions stream can be searched by position or time
        LogUnsearchable = "log.unsearchable", Halt, "name a place in the transactions stream";
        /// the schemas stream cannot be trimmed
        LogUntrimmable = "log.untrimmable", Halt, "trim the other streams only";
    }
    Kafka, "Log over Kafka" {
        /// no answer, or an error that passes
        LogKafkaAway = "log.kafka_away", Retry, "";
        /// a Kafka transaction was open for longer than the broker allows; it was aborted, and
        /// capture begins again
        LogTransactionTimeout = "log.transaction_timeout", Retry, "";
        /// Kafka refuses the user
        LogKafkaRights = "log.kafka_rights", Halt,
            "rights on the topics, group and transactional id, which all begin with the \
             pipeline's name; `[log.properties]`";
        /// a setting of `[log.properties]` that librdkafka does not know or refuses;
        /// `transaction_time` or `transaction_bytes` out of range
        LogKafkaConfig = "log.kafka_config", Halt, "correct it";
        /// `[log.properties]` sets what Lockstep sets itself
        LogReservedProperty = "log.reserved_property", Halt, "remove it";
        /// a topic has other partitions or settings than it must have; the line has the command
        /// that corrects a setting
        LogTopicShape = "log.topic_shape", Halt,
            "correct the topics; transactions with more than one partition have lost their order: \
             begin under another name";
        /// a record is above the topic's or the broker's limit
        LogRecordTooLarge = "log.record_too_large", Halt,
            "raise `max.message.bytes` (Lockstep sets 16777216 on topics it creates)";
        /// the broker refuses a request for good: the transaction timeout is above its
        /// `transaction.max.timeout.ms`, its version lacks transactions, the replication factor or
        /// a policy forbids the topics, or the pipeline's name makes no topic name
        LogKafkaRefused = "log.kafka_refused", Halt,
            "the Kafka error in the line says which: correct the broker's setting, \
             `log.replication` or `pipeline.name`";
    }
    Embedded, "Embedded log" {
        /// the log was closed: the program is ending
        LogClosed = "log.closed", Retry, "";
        /// another process has the directory open
        LogLocked = "log.locked", Halt, "one `lockstep run` for each embedded log; for more, Kafka";
        /// the directory of `log.path` is not empty and holds no embedded log
        LogNotALog = "log.not_a_log", Halt, "name a directory of its own";
        /// the directory cannot be opened
        LogOpen = "log.open", Halt, "rights, disk; if it is damaged, restore it";
        /// the directory holds another pipeline's log
        LogOtherPipeline = "log.other_pipeline", Halt, "one `log.path` for each pipeline";
        /// another version's format
        LogFormat = "log.format", Halt, "use that version, or another directory";
        /// the disk of `log.path` has no room: capture writes nothing more and stays where it is; applies
        /// go on with what the log has
        LogFull = "log.full", Wait,
            "make room on the disk, or shorten `log.retention`; it goes on by itself";
        /// a write failed; nothing more is accepted
        LogStorage = "log.storage", Halt, "disk (space, rights, health), then start again";
        /// the directory holds what Lockstep never wrote
        LogCorrupt = "log.corrupt", Halt, "restore it, or remove it and load the target again";
    }
    Apply, "Apply" {
        /// the target is away or starting, or gave up what the line says (a deadlock, a lock
        /// timeout, a shutdown)
        ApplyTargetAway = "apply.target_away", Retry, "";
        /// the target refuses the connection or the login
        ApplyConnect = "apply.connect", Halt, "correct host, user, password, `pg_hba.conf`";
        /// the target refuses a connection or a login that it accepted before: the password is being
        /// changed, or a right was taken away
        ApplyConnectRefused = "apply.connect_refused", Wait,
            "give the role back its rights, or write the new password into `password_file`, which \
             is read at every attempt";
        /// the server offers no TLS, or its certificate is not verified; or it asks for the
        /// password in the clear or as MD5 over a connection on which it is not certain who asks
        ApplyTransport = "apply.transport", Halt,
            "give the server a certificate for its name, and `ca_file`; store the password as \
             SCRAM (`password_encryption = 'scram-sha-256'`, then set it again); or choose a \
             weaker `tls` in words ([transport](postgresql-setup.md#transport))";
        /// the target's disk, or the tablespace, has no room (SQLSTATE 53100)
        ApplyTargetFull = "apply.target_full", Wait,
            "make room on the target's disk, or move tables to another tablespace; it goes on by itself";
        /// the log ends before what the target has been given: a copy started by mistake, or a log
        /// brought back. The target is not taken over until capture has read again what is missing
        ApplyLogBehind = "apply.log_behind", Retry,
            "stop this apply if another one follows the target";
        /// shown while PostgreSQL has not answered for 10 s though an answer is due: a lock, a
        /// standby that `synchronous_standby_names` waits for, a full disk, a network that drops
        /// packets; the process is named
        ApplySilent = "apply.silent", Retry, "see `wait_event` in `pg_stat_activity`";
        /// the checkpoint in the target is not the one that this connection left; the next
        /// connection sees whether another apply has it (`apply.fenced`) or the target went back to
        /// an earlier state, from which it goes on
        ApplyDisplaced = "apply.displaced", Retry, "";
        /// a target that had a checkpoint has none: it was put back to before the pipeline, or the
        /// row was removed
        ApplyCheckpointGone = "apply.checkpoint_gone", Halt,
            "restore `lockstep.checkpoint` with the tables; or start again, which begins at \
             `start` as on a new target";
        /// a setting of the session does not stay as it was set; the line names it
        ApplySession = "apply.session", Halt,
            "let `host` and `port` name the server itself: \
             [postgresql-setup.md](postgresql-setup.md)";
        /// a pooler changes server processes between transactions
        ApplyPooler = "apply.pooler", Halt,
            "connect to the server, or through a pool in session mode";
        /// the connection was lost in between
        ApplyConnection = "apply.connection", Retry, "";
        /// the target refuses a statement for a reason that is no conflict
        ApplyTarget = "apply.target", Halt,
            "what the line says: rights, tables that changed under apply";
        /// the `lockstep` schema cannot be made or read; the checkpoint cannot be taken or removed
        ApplySchema = "apply.schema", Halt, "rights of the role: `lockstep check` lists them";
        /// the `lockstep` schema cannot be made or read; the checkpoint cannot be taken or removed
        ApplyEpoch = "apply.epoch", Halt, "rights of the role: `lockstep check` lists them";
        /// the `lockstep` schema cannot be made or read; the checkpoint cannot be taken or removed
        ApplyReset = "apply.reset", Halt, "rights of the role: `lockstep check` lists them";
        /// the schema `lockstep`, or something in it, is another role's, or has triggers, rules,
        /// policies, defaults or the like that are not Lockstep's; the line lists everything
        ApplyUntrusted = "apply.untrusted", Halt,
            "find out who made it; do what is said of each: \
             [postgresql-setup.md](postgresql-setup.md#the-schema-lockstep)";
        /// another apply took over this pipeline on this target
        ApplyFenced = "apply.fenced", Fenced, "leave it stopped";
        /// `password_file` or `ca_file` cannot be read
        ApplyConfig = "apply.config", Halt, "correct it";
        /// the start point cannot be read, or the target has a checkpoint and another start is
        /// configured
        ApplyStart = "apply.start", Halt, "remove `start`, or reset the target first";
        /// types, columns or collations that the configuration asks for cannot be; the line lists
        /// everything
        ApplyTypes = "apply.types", Halt,
            "correct `types`, `columns` or `key_collation`, or install the extension: \
             [types.md](types.md#other-types-by-configuration)";
        /// a target table cannot be made, does not fit its source table, or loses or alters what is
        /// written (rules, unlogged tables, inheritance); the line lists everything
        ApplyTable = "apply.table", Halt,
            "correct it; or drop it, start apply again and `lockstep reload` it (task `cdc`: \
             `create_tables` makes it anew, empty)";
        /// a target table was dropped or replaced while apply ran, in a task that loads: it is held
        /// from now on, the others go on
        ApplyTableGone = "apply.table_gone", Retry,
            "`lockstep reload` of the table, which status and `check` name";
        /// the target counted other rows than were sent, in a commit that was on its way; or a
        /// trigger or rule that fires came while apply ran, and may have altered or dropped what was
        /// written since
        ApplyRows = "apply.rows", Halt,
            "disable it, set `resolved_at` of the row of kind `rows` in `lockstep.exceptions`, \
             then `lockstep reload` of the table, or correct its rows before: \
             [postgresql-setup.md](postgresql-setup.md#triggers-rules-and-tables-that-do-not-keep-rows)";
        /// the target table belongs to another pipeline
        ApplyClaimed = "apply.claimed", Halt,
            "one pipeline for each table: `schemas`; or delete the row in `lockstep.tables`";
        /// the target is not ready for a full load, and was not changed; the line lists everything
        /// that is wrong with every table: not empty, missing rights, a type without a place, names
        /// that clash, another owner, unique indexes or foreign keys in the way
        /// ([full-load.md](full-load.md))
        ApplyPrepare = "apply.prepare", Halt, "correct what is listed, or choose another `prepare`";
        /// what is kept of full loads in the target cannot be written or read
        ApplyLoad = "apply.load", Halt,
            "restore the rows in `lockstep.load`, `load_table`, `load_chunk`";
        /// the log has lost the beginning of a load, or chunks of a table
        ApplyLoadGap = "apply.load.gap", Halt,
            "restore the log's records; or a new log; or `lockstep reload` for each table; or a \
             start point whose rows the target has";
        /// rows of a chunk are gone from the snapshot stream, or are not what its end says
        ApplyLoadLost = "apply.load.lost", Halt,
            "keep the snapshot stream until every target has loaded from it; restore it, or \
             [load the table again](full-load.md#a-table-once-more)";
        /// rows of a chunk are gone from the snapshot stream, or are not what its end says
        ApplyLoadDamaged = "apply.load.damaged", Halt,
            "keep the snapshot stream until every target has loaded from it; restore it, or \
             [load the table again](full-load.md#a-table-once-more)";
        /// under every conflict policy: a row of a chunk has a value that the target cannot hold;
        /// the line names the column
        ApplyLoadValue = "apply.load.value", Halt,
            "change the value at the source and \
             [load the table again](full-load.md#a-table-once-more)";
        /// a constraint of the target refuses rows while its table converges, or a row or key is
        /// larger than a page of PostgreSQL takes (54000)
        ApplyLoadRefused = "apply.load.refused", Halt,
            "drop the constraint until the load is consistent; for 54000, shorten the value at \
             the source, or leave the column out, and \
             [load the table again](full-load.md#a-table-once-more)";
        /// not every row of a chunk has a place in the target: two keys of the source are one
        /// there, or a trigger keeps rows out; nothing of the chunk is committed
        ApplyLoadUnplaced = "apply.load.unplaced", Halt,
            "let key columns have a type and a collation that tell the values apart \
             ([types.md](types.md)), drop the trigger, then \
             [load the table again](full-load.md#a-table-once-more)";
        /// a row got another key by an update without all its columns while the table was read, and
        /// the rest never came
        ApplyLoadIncomplete = "apply.load.incomplete", Halt,
            "[load the table again](full-load.md#a-table-once-more), if need be under the exact \
             handoff";
        /// a load has failed, and the log has a later one of the same table: the failed one is passed
        /// over, and the table held until the later one begins
        ApplyLoadAgain = "apply.load.again", Retry, "";
        /// under `prepare = "keep"` a table is read anew, and rows of the attempt before are among
        /// rows that were kept
        ApplyLoadRestart = "apply.load.restart", Halt,
            "remove what is not to be kept, or \
             [load the table again](full-load.md#a-table-once-more), which empties it";
        /// a table changed its shape while it was being loaded
        ApplyLoadReshaped = "apply.load.reshaped", Halt,
            "[load the table again](full-load.md#a-table-once-more)";
        /// a table is loaded again while the finish of a load still runs on it
        ApplyUnmakeWaits = "apply.unmake_waits", Retry, "";
        /// unique indexes or foreign keys of a table that is loaded again cannot be dropped:
        /// something of yours hangs on them
        ApplyUnmake = "apply.unmake", Halt, "drop what hangs on them";
        /// `lockstep.load_object` cannot be written; an object that the target refuses is no
        /// failure but a row there with its reason
        ApplyFinish = "apply.finish", Halt, "rights of the role on the schema `lockstep`";
        /// identity sequences cannot be set at a stop
        ApplySequences = "apply.sequences", Halt, "rights of the role on the sequences";
        /// the target refuses a transaction, or a value has no form in it; the line names position,
        /// offsets, table, operation and change
        ApplyConflict = "apply.conflict", Halt,
            "correct the target's rows or constraints, or choose another `on_conflict`; for \
             values, [types.md](types.md)";
        /// a change does not say which row it is about
        ApplyUnidentified = "apply.unidentified", Halt,
            "whole before images at the source, or a key";
        /// the log has lost what follows the checkpoint; the line names the range
        ApplyGap = "apply.gap", Halt,
            "restore the log, or load the target anew (reset, then a start point)";
        /// the log has lost what the target was given, and with it what tells that it is the same
        /// log
        ApplyLogShorter = "apply.log_shorter", Halt,
            "restore the log, or reset the target and choose a start point";
        /// the log is not the one the target follows
        ApplyAnotherLog = "apply.another_log", Halt, "restore it, or reset the target";
        /// records, fragments or epochs are out of order: more than one writer wrote
        ApplyDisorder = "apply.disorder", Halt, "restore the log";
        /// a record of a kind that this version does not apply (full load, shape change, …)
        ApplyUnfollowed = "apply.unfollowed", Halt,
            "upgrade apply, or load the target anew from behind it";
        /// the records of a transaction do not make one
        ApplyDamaged = "apply.damaged", Halt, "delete the spool; if it stays so, restore the log";
        /// a row does not have its table version's columns
        ApplyCorrupt = "apply.corrupt", Halt, "restore the log";
        /// the checkpoint row cannot be read
        ApplyCheckpoint = "apply.checkpoint", Halt, "restore the row in `lockstep.checkpoint`";
        /// the spool cannot be written or read
        ApplySpool = "apply.spool", Halt,
            "make room; if an entry is unreadable, delete the directory: the log has everything";
        /// the disk of `spool` has no room: the log is not read further until there is room in memory
        ApplySpoolFull = "apply.spool_full", Wait,
            "make room on the disk, or lower `spool_budget`; it goes on by itself";
        /// one transaction is larger than `spool_budget`
        ApplySpoolBudget = "apply.spool_budget", Halt,
            "raise it; nothing of the transaction was applied";
        /// the target's answers make no sense, or apply's own work failed
        ApplyProtocol = "apply.protocol", Halt, "report it with the log";
        /// the target's answers make no sense, or apply's own work failed
        ApplyStatement = "apply.statement", Halt, "report it with the log";
        /// the target's answers make no sense, or apply's own work failed
        ApplyInternal = "apply.internal", Halt, "report it with the log";
    }
    Tests, "Tests" {
        /// a fail point was armed: in tests only
        Failpoint = "failpoint", Halt, "";
    }
}
