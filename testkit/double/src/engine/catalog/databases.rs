//! `sys.databases` and what belongs to it.

use std::ops::Deref;
use std::sync::Arc;

use super::definition::{
    At, Columns, Definition, Desc, NVar, Name, Sid, ViewOf, null, off, off_null,
};
use super::logins::OWNER_SID;
use super::source::Catalog;
use crate::SqlError;
use crate::engine::statement::option_key;
use crate::storage::{Database, DatabaseInfo};

pub(super) const VIEWS: &[&dyn Definition] = &[
    &ViewOf::sys("databases", databases, all_databases),
    &ViewOf::sys("database_recovery_status", recovery_status, owned_databases),
    &ViewOf::sys("schemas", schemas, all_schemas),
];

/// A database with the options that were set.
struct Shown {
    info: DatabaseInfo,
    database: Arc<Database>,
}

impl Deref for Shown {
    type Target = DatabaseInfo;
    fn deref(&self) -> &DatabaseInfo {
        &self.info
    }
}

impl Shown {
    fn option(&self, name: &str) -> Option<String> {
        self.database.setting(&option_key(name))
    }

    /// An option that is ON or OFF.
    fn is_on(&self, name: &str, usual: bool) -> bool {
        self.option(name).map_or(usual, |value| value == "ON")
    }

    /// `recovery_model`: 1 FULL, 2 BULK_LOGGED, 3 SIMPLE.
    fn recovery(&self) -> (u8, &'static str) {
        match self.option("RECOVERY").as_deref() {
            Some("SIMPLE") => (3, "SIMPLE"),
            Some("BULK_LOGGED") => (2, "BULK_LOGGED"),
            None if is_simple(self) => (3, "SIMPLE"),
            _ => (1, "FULL"),
        }
    }

    fn page_verify(&self) -> (u8, &'static str) {
        match self.option("PAGE_VERIFY").as_deref() {
            Some("NONE") => (0, "NONE"),
            Some("TORN_PAGE_DETECTION") => (1, "TORN_PAGE_DETECTION"),
            _ => (2, "CHECKSUM"),
        }
    }
}

/// Everybody sees every database: `public` has VIEW ANY DATABASE.
fn all_databases(catalog: &Catalog<'_>) -> Result<Vec<Shown>, SqlError> {
    let shown = |database: Arc<Database>| Shown { info: database.info(), database };
    Ok(catalog.storage.databases().into_iter().map(shown).collect())
}

/// Unlike `sys.databases` this shows an ordinary user nothing.
fn owned_databases(catalog: &Catalog<'_>) -> Result<Vec<Shown>, SqlError> {
    let mut databases = all_databases(catalog)?;
    let own = catalog.rights.is_owner().then(|| catalog.database().id());
    let all = catalog.rights.sysadmin || catalog.rights.has_server_permission("ALTER ANY DATABASE");
    databases.retain(|database| all || Some(database.id) == own);
    Ok(databases)
}

/// master, tempdb and msdb keep no more log than they need.
fn is_simple(database: &DatabaseInfo) -> bool {
    matches!(database.id, 1 | 2 | 4)
}

/// master and msdb always allow it.
fn allows_snapshot(database: &DatabaseInfo) -> bool {
    database.allow_snapshot || matches!(database.id, 1 | 4)
}

fn databases() -> Columns<Shown> {
    let columns = Columns::new()
        .add("name", |d: &Shown| Name(d.name.clone()))
        .add("database_id", |d| d.id)
        .add("source_database_id", null::<_, i32>)
        .add("owner_sid", |_| Some(Sid(OWNER_SID.to_vec())))
        .add("create_date", |d| At(d.create_date))
        .add("compatibility_level", |d| d.compatibility_level)
        .add("collation_name", |d| Some(Name(d.collation.clone())))
        .add("user_access", |_| Some(0_u8))
        .add("user_access_desc", |_| Some(Desc("MULTI_USER")))
        .add("is_read_only", off_null)
        .add("is_auto_close_on", |d| d.is_on("AUTO_CLOSE", false))
        .add("is_auto_shrink_on", |d| Some(d.is_on("AUTO_SHRINK", false)))
        .add("state", |_| Some(0_u8))
        .add("state_desc", |_| Some(Desc("ONLINE")))
        .add_each(
            &["is_in_standby", "is_cleanly_shutdown", "is_supplemental_logging_enabled"],
            off_null,
        )
        .add("snapshot_isolation_state", |d| Some(u8::from(allows_snapshot(d))))
        .add("snapshot_isolation_state_desc", |d| {
            Some(Desc(if allows_snapshot(d) { "ON" } else { "OFF" }))
        })
        .add("is_read_committed_snapshot_on", |d| Some(d.read_committed_snapshot))
        .add("recovery_model", |d| Some(d.recovery().0))
        .add("recovery_model_desc", |d| Some(Desc(d.recovery().1)))
        .add("page_verify_option", |d| Some(d.page_verify().0))
        .add("page_verify_option_desc", |d| Some(Desc(d.page_verify().1)));
    after_integration(settings(columns))
}

fn settings(columns: Columns<Shown>) -> Columns<Shown> {
    columns
        .add("is_auto_create_stats_on", |d| Some(d.is_on("AUTO_CREATE_STATISTICS", true)))
        .add("is_auto_create_stats_incremental_on", off_null)
        .add("is_auto_update_stats_on", |d| Some(d.is_on("AUTO_UPDATE_STATISTICS", true)))
        .add("is_auto_update_stats_async_on", |d| {
            Some(d.is_on("AUTO_UPDATE_STATISTICS_ASYNC", false))
        })
        .add("is_ansi_null_default_on", |d| Some(d.is_on("ANSI_NULL_DEFAULT", false)))
        .add("is_ansi_nulls_on", |d| Some(d.is_on("ANSI_NULLS", false)))
        .add("is_ansi_padding_on", |d| Some(d.is_on("ANSI_PADDING", false)))
        .add("is_ansi_warnings_on", |d| Some(d.is_on("ANSI_WARNINGS", false)))
        .add("is_arithabort_on", |d| Some(d.is_on("ARITHABORT", false)))
        .add("is_concat_null_yields_null_on", |d| Some(d.is_on("CONCAT_NULL_YIELDS_NULL", false)))
        .add("is_numeric_roundabort_on", |d| Some(d.is_on("NUMERIC_ROUNDABORT", false)))
        .add("is_quoted_identifier_on", |d| Some(d.is_on("QUOTED_IDENTIFIER", false)))
        .add("is_recursive_triggers_on", |d| Some(d.is_on("RECURSIVE_TRIGGERS", false)))
        .add("is_cursor_close_on_commit_on", |d| Some(d.is_on("CURSOR_CLOSE_ON_COMMIT", false)))
        .add("is_local_cursor_default", |d| {
            Some(d.option("CURSOR_DEFAULT").as_deref() == Some("LOCAL"))
        })
        .add("is_fulltext_enabled", off_null)
        .add("is_trustworthy_on", |d| Some(d.is_on("TRUSTWORTHY", false)))
        .add("is_db_chaining_on", |d| Some(d.is_on("DB_CHAINING", false)))
        .add("is_parameterization_forced", |d| {
            Some(d.option("PARAMETERIZATION").as_deref() == Some("FORCED"))
        })
        .add("is_master_key_encrypted_by_server", off)
        .add("is_query_store_on", off_null)
        .add("is_published", |d| d.published)
        .add_each(
            &["is_subscribed", "is_merge_published", "is_distributor", "is_sync_with_backup"],
            off,
        )
        .add("service_broker_guid", |d| d.database_guid)
        .add("is_broker_enabled", off)
        .add("log_reuse_wait", |_| Some(0_u8))
        .add("log_reuse_wait_desc", |_| Some(Desc("NOTHING")))
        .add("is_date_correlation_on", |d| d.is_on("DATE_CORRELATION_OPTIMIZATION", false))
        .add("is_cdc_enabled", |d| d.cdc_enabled)
        .add("is_encrypted", off_null)
        .add("is_honor_broker_priority_on", |d| Some(d.is_on("HONOR_BROKER_PRIORITY", false)))
}

/// The columns that came with and after SQL Server 2012.
fn after_integration(columns: Columns<Shown>) -> Columns<Shown> {
    columns
        .add_each(&["replica_id", "group_database_id"], null::<_, [u8; 16]>)
        .add("resource_pool_id", null::<_, i32>)
        .add("default_language_lcid", null::<_, i16>)
        .add("default_language_name", null::<_, Name>)
        .add("default_fulltext_language_lcid", null::<_, i32>)
        .add("default_fulltext_language_name", null::<_, Name>)
        .add_each(&["is_nested_triggers_on", "is_transform_noise_words_on"], null::<_, bool>)
        .add("two_digit_year_cutoff", null::<_, i16>)
        .add("containment", |_| Some(0_u8))
        .add("containment_desc", |_| Some(Desc("NONE")))
        .add("target_recovery_time_in_seconds", |_| Some(60))
        .add("delayed_durability", |_| Some(0))
        .add("delayed_durability_desc", |_| Some(Desc("DISABLED")))
        .add_each(
            &[
                "is_memory_optimized_elevate_to_snapshot_on",
                "is_federation_member",
                "is_remote_data_archive_enabled",
                "is_mixed_page_allocation_on",
                "is_temporal_history_retention_enabled",
            ],
            off_null,
        )
        .add("catalog_collation_type", |_| Some(0))
        .add("catalog_collation_type_desc", |_| Some(Desc("DATABASE_DEFAULT")))
        .add("physical_database_name", |d| Some(NVar::<128>(d.name.clone())))
        .add_each(
            &[
                "is_result_set_caching_on",
                "is_accelerated_database_recovery_on",
                "is_tempdb_spill_to_remote_store",
                "is_stale_page_detection_on",
                "is_memory_optimized_enabled",
                "is_data_retention_enabled",
                "is_ledger_on",
                "is_change_feed_enabled",
            ],
            off_null,
        )
}

fn recovery_status() -> Columns<Shown> {
    Columns::new()
        .add("database_id", |d: &Shown| d.id)
        .add("database_guid", |d| Some(d.database_guid))
        .add("family_guid", |d| Some(d.family_guid))
        .add("last_log_backup_lsn", null::<_, crate::storage::Lsn>)
        .add("recovery_fork_guid", |d| Some(d.recovery_fork_guid))
        .add("first_recovery_fork_guid", null::<_, [u8; 16]>)
        .add("fork_point_lsn", null::<_, crate::storage::Lsn>)
}

fn all_schemas(catalog: &Catalog<'_>) -> Result<Vec<(i32, String)>, SqlError> {
    Ok(catalog.txn.schemas())
}

fn schemas() -> Columns<(i32, String)> {
    Columns::new()
        .add("name", |(_, name): &(i32, String)| Name(name.clone()))
        .add("schema_id", |(id, _)| *id)
        // The system's schemas belong to the users of the same numbers, all others to dbo.
        .add("principal_id", |(id, _)| Some(if *id <= 4 { *id } else { 1 }))
}
