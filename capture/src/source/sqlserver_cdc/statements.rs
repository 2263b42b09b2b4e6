//! Every statement that is sent to SQL Server, with where its facts come from. "reference" is
//! Microsoft's documentation of the object named, as summed up in `docs/sqlserver.md`.
//!
//! LSNs are sent as `varbinary` parameters and converted to `binary(10)`, names as literals through
//! one quoting function. All rights needed are SELECT on the captured tables and on their change
//! tables: `cdc.lsn_time_mapping` and the `sys.fn_cdc_*` functions used here are public, and the
//! `sys.sp_cdc_*` procedures used here show a caller what it may SELECT.

use std::time::Duration;

use lockstep_common::model::name::{literal_mssql as literal, quote_mssql as quote};

use super::decode::ColumnPlan;
use super::order::COLUMNS;
use super::variant;

/// What every connection is told first. Explicit, because a pooled or migrated session may carry
/// other settings: no dirty reads (a closed LSN is only closed for READ COMMITTED), yield to the
/// capture and cleanup jobs in deadlocks and lock waits (given up after `lock_timeout`), and MAX values whole up to
/// `max_value_bytes` (one byte more is asked for, so that a larger value shows as one; a variant, which
/// is selected as a MAX value, comes whole in any case).
pub fn session(max_value_bytes: u64, lock_timeout: Duration) -> String {
    let largest = max_value_bytes.max(variant::LARGEST_BYTES);
    let text_size = i32::try_from(largest.saturating_add(1)).unwrap_or(-1);
    format!(
        "SET NOCOUNT ON; SET ANSI_NULLS ON; SET ANSI_PADDING ON; SET ANSI_WARNINGS ON; \
         SET QUOTED_IDENTIFIER ON; SET CONCAT_NULL_YIELDS_NULL ON; \
         SET TRANSACTION ISOLATION LEVEL READ COMMITTED; \
         SET LOCK_TIMEOUT {}; SET DEADLOCK_PRIORITY LOW; SET TEXTSIZE {text_size};",
        lock_timeout.as_millis()
    )
}

/// Rows that a statement reads at most where it locks them. Locks of rows with values off the row are kept
/// to the end of the statement, and 5,000 of a statement on one table become a lock of the table
/// ([lock escalation](https://learn.microsoft.com/en-us/troubleshoot/sql/database-engine/performance/resolve-blocking-problems-caused-lock-escalation));
/// a row that is found through an index has one there, too.
pub const MOST_LOCKED_ROWS: u32 = 1000;

/// Server, database, whether CDC is on (`sys.databases` shows a login the databases it may enter),
/// the database's collation, whether rows have versions for readers, and whether it is published for
/// transactional replication.
pub const IDENTITY: &str = "SELECT CAST(@@SERVERNAME AS nvarchar(256)) AS server_name, \
     d.name AS database_name, d.is_cdc_enabled, d.collation_name, \
     d.is_read_committed_snapshot_on, d.snapshot_isolation_state, d.is_published \
     FROM sys.databases AS d WHERE d.database_id = DB_ID()";

/// The capture instances that the caller may SELECT (`sys.sp_cdc_help_change_data_capture`; error
/// 22981 when there are none). Its `index_column_list` is not used: for all tables at once it
/// repeats a previous row's.
pub const INSTANCES: &str = "EXEC sys.sp_cdc_help_change_data_capture";

/// Error of [`INSTANCES`] that means "none".
pub const NO_INSTANCES: u32 = 22981;

/// Captured columns of an instance (`sys.sp_cdc_get_captured_columns`).
pub fn captured_columns(instance: &str) -> String {
    format!("EXEC sys.sp_cdc_get_captured_columns @capture_instance = {}", literal(instance))
}

/// Columns of several objects (`sys.columns`: shows what the caller may SELECT).
pub fn columns(objects: impl Iterator<Item = i32>) -> String {
    format!(
        "SELECT c.object_id, c.name, c.column_id, c.system_type_id, c.user_type_id, c.max_length, \
         c.[precision], c.scale, c.collation_name, c.is_nullable, c.is_identity, c.is_computed \
         FROM sys.columns AS c WHERE c.object_id IN ({}) ORDER BY c.object_id, c.column_id",
        list(objects)
    )
}

/// When tables were made, on the server's clock (`sys.objects.create_date`: shows what the caller may
/// see).
/// <https://learn.microsoft.com/en-us/sql/relational-databases/system-catalog-views/sys-objects-transact-sql>
pub fn created(objects: impl Iterator<Item = i32>) -> String {
    format!(
        "SELECT o.object_id, o.create_date FROM sys.objects AS o WHERE o.object_id IN ({})",
        list(objects)
    )
}

/// Columns of the primary keys and of the other unique indexes of several tables (`sys.indexes`,
/// `sys.index_columns`), the primary key first.
pub fn keys(objects: impl Iterator<Item = i32>) -> String {
    format!(
        "SELECT i.object_id, i.index_id, i.is_primary_key, k.column_id \
         FROM sys.indexes AS i INNER JOIN sys.index_columns AS k \
         ON k.object_id = i.object_id AND k.index_id = i.index_id \
         WHERE i.is_unique = 1 AND i.is_disabled = 0 AND i.has_filter = 0 AND k.key_ordinal > 0 \
         AND i.object_id IN ({}) \
         ORDER BY i.object_id, i.is_primary_key DESC, i.index_id, k.key_ordinal",
        list(objects)
    )
}

fn list(objects: impl Iterator<Item = i32>) -> String {
    objects.map(|id| id.to_string()).collect::<Vec<_>>().join(", ")
}

/// Commits after an LSN, oldest first; the two newest, if `newest`; the commit at the LSN itself; and the
/// server's clock.
/// `@P1` rows, `@P2` the cursor.
pub fn commits(newest: bool) -> String {
    // Whoever asks for the newest waits for the capture job's open scan.
    let two = if newest { 2 } else { 0 };
    format!(
        "SELECT TOP (@P1) m.start_lsn, m.tran_end_time, m.tran_id \
         FROM cdc.lsn_time_mapping AS m WHERE m.start_lsn > CONVERT(binary(10), @P2) \
         ORDER BY m.start_lsn; \
         SELECT TOP ({two}) m.start_lsn, m.tran_end_time, m.tran_id \
         FROM cdc.lsn_time_mapping AS m ORDER BY m.start_lsn DESC; \
         SELECT m.start_lsn, m.tran_end_time, m.tran_id \
         FROM cdc.lsn_time_mapping AS m WHERE m.start_lsn = CONVERT(binary(10), @P2); \
         SELECT SYSDATETIMEOFFSET() AS clock"
    )
}

/// Transactions that have several rows in the mapping, one of them after an LSN: the first of each two.
/// (The index over `tran_end_time` finds the other.) `@P1` the LSN.
pub const SPLIT: &str = "SELECT TOP (1) b.start_lsn, b.tran_end_time, b.tran_id \
     FROM cdc.lsn_time_mapping AS a INNER JOIN cdc.lsn_time_mapping AS b \
     ON b.tran_end_time = a.tran_end_time AND b.tran_id = a.tran_id AND b.start_lsn < a.start_lsn \
     WHERE a.start_lsn > CONVERT(binary(10), @P1) AND a.tran_id <> 0x00 ORDER BY b.start_lsn";

/// The newest commit or dummy.
pub const NEWEST: &str = "SELECT TOP (2) m.start_lsn, m.tran_end_time, m.tran_id \
     FROM cdc.lsn_time_mapping AS m ORDER BY m.start_lsn DESC; \
     SELECT SYSDATETIMEOFFSET() AS clock";

/// What proves the source's identity: the cursor's own row, the oldest and the newest.
/// `@P1` the cursor.
pub const WITNESSES: &str = "SELECT m.start_lsn, m.tran_end_time, m.tran_id \
     FROM cdc.lsn_time_mapping AS m WHERE m.start_lsn = CONVERT(binary(10), @P1); \
     SELECT TOP (1) m.start_lsn, m.tran_end_time, m.tran_id \
     FROM cdc.lsn_time_mapping AS m ORDER BY m.start_lsn; \
     SELECT TOP (1) m.start_lsn, m.tran_end_time, m.tran_id \
     FROM cdc.lsn_time_mapping AS m ORDER BY m.start_lsn DESC";

/// The mapping's row at one LSN. `@P1` the LSN.
pub const COMMIT_AT: &str = "SELECT m.start_lsn, m.tran_end_time, m.tran_id \
     FROM cdc.lsn_time_mapping AS m WHERE m.start_lsn = CONVERT(binary(10), @P1)";

/// The mapping's newest row before a time. `@P1` the time, local to the server, as text of style 121.
pub const COMMIT_BEFORE: &str = "SELECT TOP (1) m.start_lsn, m.tran_end_time, m.tran_id \
     FROM cdc.lsn_time_mapping AS m WHERE m.tran_end_time < CONVERT(datetime, @P1, 121) \
     ORDER BY m.start_lsn DESC";

/// The first LSN at which each of `instances` has changes in a range, NULL for none: one result of one
/// row for each of `groups`, each a seek of the clustered index. `@P1` after, `@P2` through.
pub fn first_changes<'a>(groups: impl Iterator<Item = &'a [&'a str]>) -> String {
    let first = |instance: &&str| {
        format!(
            "(SELECT TOP (1) [__$start_lsn] FROM {} WHERE [__$start_lsn] > @after \
             AND [__$start_lsn] <= @through ORDER BY [__$start_lsn])",
            change_table(instance)
        )
    };
    let select = |group: &[&str]| {
        let firsts: Vec<String> = group.iter().map(first).collect();
        format!("; SELECT {}", firsts.join(", "))
    };
    let declare = "DECLARE @after binary(10) = CONVERT(binary(10), @P1), \
         @through binary(10) = CONVERT(binary(10), @P2)";
    std::iter::once(declare.to_owned()).chain(groups.map(select)).collect()
}

/// The low-water marks of `instances`, in their order: one row
/// (`sys.fn_cdc_get_min_lsn`: 0x00… for an instance that is unknown or forbidden, NULL or 0x00… for
/// a while for a new one).
pub fn low_water_marks(instances: &[&str]) -> String {
    let marks =
        instances.iter().map(|instance| format!("sys.fn_cdc_get_min_lsn({})", literal(instance)));
    format!("SELECT {}", marks.collect::<Vec<_>>().join(", "))
}

/// The low-water marks of all instances, which are what `sys.fn_cdc_get_min_lsn` answers, in one read
/// (`cdc.change_tables`; needs a grant that capture can do without).
pub const MARKS_TABLE: &str = "SELECT t.capture_instance, t.start_lsn FROM cdc.change_tables AS t";

/// DDL that an instance's table saw (`sys.sp_cdc_get_ddl_history`).
pub fn ddl_history(instance: &str) -> String {
    format!("EXEC sys.sp_cdc_get_ddl_history @capture_instance = {}", literal(instance))
}

/// DDL of all instances after an LSN, in one read (`cdc.ddl_history`; needs a grant that capture can
/// do without). `@P1` the LSN.
pub const DDL_TABLE: &str = "SELECT h.object_id, h.ddl_lsn, h.ddl_command \
     FROM cdc.ddl_history AS h WHERE h.ddl_lsn > CONVERT(binary(10), @P1)";

/// The object that the server finds by a quoted name (`OBJECT_ID`). `@P1` the name.
pub const OBJECT_ID: &str = "SELECT OBJECT_ID(@P1) AS object_id";

/// All instances, and what the caller lacks to be shown one (`cdc.change_tables`, which needs a grant
/// that capture can do without; `OBJECT_NAME` is NULL for what the caller may not see).
pub const ALL_INSTANCES: &str = "SELECT t.capture_instance, t.source_object_id, t.role_name, \
     IS_ROLEMEMBER(t.role_name) AS is_member, \
     OBJECT_SCHEMA_NAME(t.source_object_id) AS schema_name, \
     OBJECT_NAME(t.source_object_id) AS table_name, \
     HAS_PERMS_BY_NAME(QUOTENAME(OBJECT_SCHEMA_NAME(t.source_object_id)) + N'.' \
     + QUOTENAME(OBJECT_NAME(t.source_object_id)), N'OBJECT', N'SELECT') AS may_select, \
     HAS_PERMS_BY_NAME(N'cdc.' + QUOTENAME(t.capture_instance + N'_CT'), N'OBJECT', N'SELECT') \
     AS may_select_changes, USER_NAME() AS user_name \
     FROM cdc.change_tables AS t ORDER BY t.create_date";

/// Those of `instances` whose change tables the caller may not SELECT at all.
pub fn forbidden_changes(instances: &[&str]) -> String {
    let one = |instance: &&str| {
        format!(
            "SELECT {} AS capture_instance, USER_NAME() AS user_name \
             WHERE ISNULL(HAS_PERMS_BY_NAME({}, N'OBJECT', N'SELECT'), 0) = 0",
            literal(instance),
            literal(&change_table(instance))
        )
    };
    instances.iter().map(one).collect::<Vec<_>>().join(" UNION ALL ")
}

/// Captured columns of an instance that the caller may not SELECT (`cdc.captured_columns`, which needs
/// the grant that [`ALL_INSTANCES`] needs). `@P1` the instance, `@P2` its table, quoted.
pub const FORBIDDEN_COLUMNS: &str = "SELECT c.column_name, USER_NAME() AS user_name \
     FROM cdc.captured_columns AS c INNER JOIN cdc.change_tables AS t ON t.object_id = c.object_id \
     WHERE t.capture_instance = @P1 \
     AND HAS_PERMS_BY_NAME(@P2, N'OBJECT', N'SELECT', c.column_name, N'COLUMN') = 0 \
     ORDER BY c.column_ordinal";

/// Tables that have a capture instance, as far as the caller sees them (`sys.tables`).
pub const TRACKED_TABLES: &str = "SELECT t.object_id, s.name AS schema_name, t.name AS table_name, \
     USER_NAME() AS user_name FROM sys.tables AS t \
     INNER JOIN sys.schemas AS s ON s.schema_id = t.schema_id \
     WHERE t.is_tracked_by_cdc = 1 ORDER BY s.name, t.name";

/// Which of the user's tables have no capture instance, as far as the caller sees them (`sys.tables`).
pub const UNTRACKED_TABLES: &str = "SELECT s.name AS schema_name, t.name AS table_name \
     FROM sys.tables AS t INNER JOIN sys.schemas AS s ON s.schema_id = t.schema_id \
     WHERE t.is_tracked_by_cdc = 0 AND t.is_ms_shipped = 0 AND s.name <> N'cdc' \
     ORDER BY s.name, t.name";

/// Captures a table, for people.
pub fn enable(schema: &str, table: &str) -> String {
    format!(
        "EXEC sys.sp_cdc_enable_table @source_schema = {}, @source_name = {}, @role_name = NULL, \
         @supports_net_changes = 0",
        literal(schema),
        literal(table)
    )
}

/// A batch for whoever may see an instance's table: lets `user`, which is quoted, SELECT from it.
pub fn grant_on_source(instance: &str, user: &str) -> String {
    format!(
        "DECLARE @table nvarchar(600) = (SELECT QUOTENAME(OBJECT_SCHEMA_NAME(source_object_id)) + N'.' \
         + QUOTENAME(OBJECT_NAME(source_object_id)) FROM cdc.change_tables \
         WHERE capture_instance = {}); EXEC (N'GRANT SELECT ON ' + @table + {})",
        literal(instance),
        literal(&format!(" TO {user}"))
    )
}

/// State of SQL Server Agent (`sys.dm_server_services`; needs VIEW SERVER STATE).
pub const AGENT: &str = "SELECT s.status_desc FROM sys.dm_server_services AS s \
     WHERE s.servicename LIKE N'SQL Server Agent (%'";

/// The database's CDC jobs (`sys.sp_cdc_help_jobs`; needs db_owner).
pub const JOBS: &str = "EXEC sys.sp_cdc_help_jobs";

/// The largest value that an UPDATE or INSERT of a captured table may write (`sys.configurations`).
pub const MAX_TEXT_REPLICATION: &str = "SELECT CAST(c.value_in_use AS int) AS bytes \
     FROM sys.configurations AS c WHERE c.name = N'max text repl size (B)'";

/// Instances of partitioned tables whose partitions may be switched in and out unseen
/// (`cdc.change_tables`, which needs a grant of its own; `sys.partitions`).
pub const PARTITION_SWITCH: &str = "SELECT t.capture_instance FROM cdc.change_tables AS t \
     WHERE t.partition_switch = 1 AND EXISTS (SELECT 1 FROM sys.partitions AS p \
     WHERE p.object_id = t.source_object_id AND p.partition_number > 1)";

/// The oldest commit at or above an LSN, and the server's clock. `@P1` the LSN.
pub const HEADROOM: &str = "SELECT TOP (1) m.start_lsn, m.tran_end_time, m.tran_id \
     FROM cdc.lsn_time_mapping AS m WHERE m.start_lsn >= CONVERT(binary(10), @P1) \
     ORDER BY m.start_lsn; \
     SELECT SYSDATETIMEOFFSET() AS clock";

/// The change table of an instance.
pub fn change_table(instance: &str) -> String {
    format!("cdc.{}", quote(&format!("{instance}_CT")))
}

/// Reads of one instance's changes, in the one order (`super::order`).
#[derive(Clone, Debug)]
pub struct Reads {
    table: String,
    columns: String,
    order: String,
    has_command_id: bool,
}

impl Reads {
    /// `has_command_id` is false for a change table older than KB3030352.
    pub fn new(instance: &str, columns: &[ColumnPlan], has_command_id: bool) -> Self {
        let [start_lsn, command_id, seqval, operation] =
            COLUMNS.map(|name| format!("c.{}", quote(name)));
        let command_id_value =
            if has_command_id { command_id.clone() } else { "CAST(NULL AS int)".to_owned() };
        let mut list = vec![
            start_lsn.clone(),
            command_id_value,
            seqval.clone(),
            operation.clone(),
            "c.[__$update_mask]".to_owned(),
        ];
        list.extend(columns.iter().map(|c| c.plan.expression(&format!("c.{}", quote(&c.name)))));
        let ordered =
            [Some(start_lsn), has_command_id.then_some(command_id), Some(seqval), Some(operation)];
        Reads {
            table: change_table(instance),
            columns: list.join(", "),
            order: ordered.into_iter().flatten().collect::<Vec<_>>().join(", "),
            has_command_id,
        }
    }

    /// Everything in a window. `@P1` after, `@P2` through.
    pub fn window(&self) -> String {
        self.select("", &range("@P1", "@P2"))
    }

    /// The first rows in a window. `@P1` after, `@P2` through, `@P3` how many.
    pub fn first_page(&self) -> String {
        self.select("TOP (@P3) ", &range("@P1", "@P2"))
    }

    /// The rows of one transaction after a row of it. `@P1` its LSN, `@P2` the row's command,
    /// `@P3` its sequence, `@P4` its operation, `@P5` how many. The range is one seek of the
    /// clustered index, so that paging through a huge transaction costs no more than reading it.
    pub fn rest_of_transaction(&self, after_null_command: bool) -> String {
        const TAIL: &str = "(c.[__$seqval] > CONVERT(binary(10), @P3) \
             OR (c.[__$seqval] = CONVERT(binary(10), @P3) AND c.[__$operation] > @P4))";
        let rest = match (self.has_command_id, after_null_command) {
            (false, _) => TAIL.to_owned(),
            (true, true) => format!("(c.[__$command_id] IS NOT NULL OR {TAIL})"),
            (true, false) => {
                format!("c.[__$command_id] >= @P2 AND (c.[__$command_id] > @P2 OR {TAIL})")
            }
        };
        self.select(
            "TOP (@P5) ",
            &format!("c.[__$start_lsn] = CONVERT(binary(10), @P1) AND {rest}"),
        )
    }

    fn select(&self, top: &str, condition: &str) -> String {
        format!(
            "SELECT {top}{} FROM {} AS c WHERE {condition} ORDER BY {}",
            self.columns, self.table, self.order
        )
    }
}

fn range(after: &str, through: &str) -> String {
    format!(
        "c.[__$start_lsn] > CONVERT(binary(10), {after}) \
         AND c.[__$start_lsn] <= CONVERT(binary(10), {through})"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_are_ordered_by_the_one_order() {
        let ordered = |reads: &Reads| {
            let sql = reads.window();
            sql.split_once("ORDER BY ").expect("ordered").1.to_owned()
        };
        let expected = COLUMNS.map(|c| format!("c.[{c}]")).join(", ");
        assert_eq!(ordered(&Reads::new("a", &[], true)), expected);
        assert_eq!(
            ordered(&Reads::new("a", &[], false)),
            "c.[__$start_lsn], c.[__$seqval], c.[__$operation]"
        );
    }

    #[test]
    fn hostile_instance_names_stay_one_identifier() {
        let sql = Reads::new("a]; DROP TABLE x --", &[], true).window();
        assert!(sql.contains("FROM cdc.[a]]; DROP TABLE x --_CT] AS c"), "{sql}");
        assert!(low_water_marks(&["it's"]).contains("(N'it''s')"));
    }
}
