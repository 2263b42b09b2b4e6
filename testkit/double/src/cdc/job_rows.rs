//! The rows of `msdb.dbo.cdc_jobs`.

use std::sync::Arc;

use super::enable::error;
use crate::storage::{
    ColumnDef, Direction, IndexKind, KeyRange, Row, RowId, Storage, TableDef, Txn,
};
use crate::{IsolationLevel, SqlError, SqlType, Value};

/// Parameters of a job, as in its row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobRow {
    /// `job_type`: `capture` or `cleanup`.
    pub kind: JobKind,
    /// `job_id`, in wire order.
    pub job_id: [u8; 16],
    /// Most transactions per scan.
    pub maxtrans: i32,
    /// Most scans per cycle.
    pub maxscans: i32,
    /// Whether it runs on.
    pub continuous: bool,
    /// Seconds between cycles.
    pub pollinginterval: i64,
    /// Minutes.
    pub retention: i64,
    /// Rows per DELETE.
    pub threshold: i64,
}

/// The two jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobKind {
    /// `capture`
    Capture,
    /// `cleanup`
    Cleanup,
}

impl JobKind {
    /// As in `job_type`.
    pub fn name(self) -> &'static str {
        match self {
            JobKind::Capture => "capture",
            JobKind::Cleanup => "cleanup",
        }
    }

    pub(super) fn parse(name: &str) -> Option<JobKind> {
        [JobKind::Capture, JobKind::Cleanup]
            .into_iter()
            .find(|kind| super::same_name(kind.name(), name))
    }
}

impl JobRow {
    /// The defaults of SQL Server 2022.
    pub(super) fn new(kind: JobKind) -> JobRow {
        JobRow {
            kind,
            job_id: uuid::Uuid::new_v4().to_bytes_le(),
            maxtrans: if kind == JobKind::Capture { 500 } else { 0 },
            maxscans: if kind == JobKind::Capture { 10 } else { 0 },
            continuous: kind == JobKind::Capture,
            pollinginterval: if kind == JobKind::Capture { 5 } else { 0 },
            retention: if kind == JobKind::Cleanup { 4320 } else { 0 },
            threshold: if kind == JobKind::Cleanup { 5000 } else { 0 },
        }
    }

    fn row(&self, database: i32) -> Row {
        Arc::new([
            Value::Int(database),
            Value::text(self.kind.name()),
            Value::Guid(self.job_id),
            Value::Int(self.maxtrans),
            Value::Int(self.maxscans),
            Value::Bit(self.continuous),
            Value::BigInt(self.pollinginterval),
            Value::BigInt(self.retention),
            Value::BigInt(self.threshold),
        ])
    }

    fn parse(row: &Row) -> Option<JobRow> {
        let number = |at: usize| row[at].as_i64().unwrap_or(0);
        let small = |at: usize| i32::try_from(number(at)).unwrap_or(0);
        Some(JobRow {
            kind: JobKind::parse(&row[1].to_text()?)?,
            job_id: match row[2] {
                Value::Guid(id) => id,
                _ => return None,
            },
            maxtrans: small(3),
            maxscans: small(4),
            continuous: row[5] == Value::Bit(true),
            pollinginterval: number(6),
            retention: number(7),
            threshold: number(8),
        })
    }
}

fn jobs_table() -> TableDef {
    let not_null = |name: &str, ty: SqlType| ColumnDef::new(name, ty, false);
    TableDef::new(
        "dbo",
        "cdc_jobs",
        vec![
            not_null("database_id", SqlType::Int),
            not_null("job_type", SqlType::NVarChar(Some(20))),
            ColumnDef::new("job_id", SqlType::UniqueIdentifier, true),
            ColumnDef::new("maxtrans", SqlType::Int, true),
            ColumnDef::new("maxscans", SqlType::Int, true),
            ColumnDef::new("continuous", SqlType::Bit, true),
            ColumnDef::new("pollinginterval", SqlType::BigInt, true),
            ColumnDef::new("retention", SqlType::BigInt, true),
            ColumnDef::new("threshold", SqlType::BigInt, true),
        ],
    )
    .with_index("PK_cdc_jobs", IndexKind::PrimaryKey, true, true, &["database_id", "job_type"])
}

fn msdb(storage: &Storage) -> Result<Txn, SqlError> {
    let msdb =
        storage.database("msdb").ok_or_else(|| error(911, "Database 'msdb' does not exist."))?;
    Ok(msdb.begin(IsolationLevel::ReadCommitted))
}

/// The table exists from the first job on.
fn jobs_of(
    storage: &Storage,
    database: Option<i32>,
) -> Result<Vec<(i32, RowId, JobRow)>, SqlError> {
    let mut txn = msdb(storage)?;
    let Some(table) = txn.table("dbo", "cdc_jobs")? else {
        return Ok(Vec::new());
    };
    let range = match database {
        Some(id) => KeyRange::prefix(vec![Value::Int(id)]),
        None => KeyRange::all(),
    };
    let view = txn.statement_view()?;
    let mut jobs = Vec::new();
    for row in view.scan(table.id, None, range, Direction::Forward)? {
        let (id, row) = row?;
        jobs.extend(JobRow::parse(&row).map(|job| (super::schema::int(&row[0]), id, job)));
    }
    Ok(jobs)
}

pub(super) fn all_jobs(storage: &Storage) -> Result<Vec<(i32, JobRow)>, SqlError> {
    Ok(jobs_of(storage, None)?.into_iter().map(|(database, _, job)| (database, job)).collect())
}

pub(super) fn job(
    storage: &Storage,
    database: i32,
    kind: JobKind,
) -> Result<Option<(RowId, JobRow)>, SqlError> {
    let jobs = jobs_of(storage, Some(database))?;
    Ok(jobs.into_iter().find(|(.., job)| job.kind == kind).map(|(_, id, job)| (id, job)))
}

/// `sp_cdc_add_job`. Does not start it.
pub(super) fn add_job(storage: &Storage, database: i32, job: &JobRow) -> Result<(), SqlError> {
    let mut txn = msdb(storage)?;
    let table = match txn.table("dbo", "cdc_jobs")? {
        Some(table) => table,
        None => txn.create_table(jobs_table())?,
    };
    let added = txn.insert(table.id, job.row(database));
    if added.is_err_and(|error| error.number == 2627) {
        return Err(error(
            22992,
            format!(
                "The specified @job_type '{}' already exists for the current database.",
                job.kind.name()
            ),
        ));
    }
    txn.commit().map(drop)
}

/// `sp_cdc_change_job`: takes effect at the job's next start.
pub(super) fn change_job(
    storage: &Storage,
    database: i32,
    id: RowId,
    job: &JobRow,
) -> Result<(), SqlError> {
    let mut txn = msdb(storage)?;
    if let Some(table) = txn.table("dbo", "cdc_jobs")? {
        txn.update(table.id, vec![(id, job.row(database))], &[3, 4, 5, 6, 7, 8])?;
    }
    txn.commit().map(drop)
}

/// `sp_cdc_drop_job`; `None` drops both.
pub(super) fn drop_jobs(
    storage: &Storage,
    database: i32,
    kind: Option<JobKind>,
) -> Result<(), SqlError> {
    let mut txn = msdb(storage)?;
    let Some(table) = txn.table("dbo", "cdc_jobs")? else {
        return Ok(());
    };
    for (_, id, job) in jobs_of(storage, Some(database))? {
        if kind.is_none_or(|kind| kind == job.kind) {
            txn.delete(table.id, id)?;
        }
    }
    txn.commit().map(drop)
}
