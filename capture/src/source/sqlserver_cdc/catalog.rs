//! Reads of the catalogue: what the server is, its capture instances, their shapes and DDL.

use std::collections::{BTreeMap, HashMap};

use lockstep_common::Code;
use lockstep_common::{Failure, Origin, TableName};
use tiberius::Row;

use super::connection::Lease;
use super::fields::Fields;
use super::instance::Instance;
use super::lsn::Lsn;
use super::outlook::GROUP;
use super::statements;
use super::types::RawColumn;

/// Procedures called in one batch, objects asked for in one statement.
const AT_ONCE: usize = 100;
/// Instances asked for an LSN or for their DDL in one round trip, in several statements: at most about
/// 300 bytes of text for each.
const IN_ONE_BATCH: usize = 10 * GROUP;

/// `snapshot_isolation_state` of a database that allows SNAPSHOT.
const SNAPSHOTS_ALLOWED: i64 = 1;

/// What the server says of itself.
#[derive(Clone, Debug)]
pub struct Identity {
    /// `@@SERVERNAME`
    pub server: String,
    /// The database, as the server writes it.
    pub database: String,
    /// Whether change data capture is on.
    pub cdc_enabled: bool,
    /// The database's collation.
    pub collation: Option<String>,
    /// How committed rows are read beside writers.
    pub versions: Versions,
    /// Transactional replication publishes it: its Log Reader Agent captures changes, too.
    pub published: bool,
}

/// How committed rows are read beside writers (`sys.databases`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Versions {
    /// `READ_COMMITTED_SNAPSHOT` is on: every statement reads versions.
    #[default]
    Always,
    /// Under SNAPSHOT, which the database allows.
    OnRequest,
    /// Not at all: every statement locks what it reads.
    Never,
}

/// Asks for the identity.
pub async fn identity(lease: &mut Lease) -> Result<Identity, Failure> {
    const OF: &str = "sys.databases";
    let results = lease.batch(statements::IDENTITY, "read sys.databases").await?;
    let row = results.first().and_then(|rows| rows.first()).ok_or_else(|| {
        Failure::new(Code::SourceDatabase, "sys.databases does not show the database")
    })?;
    let fields = Fields::new(row, OF);
    let state = fields.number("snapshot_isolation_state")?;
    Ok(Identity {
        published: fields.flag("is_published")?,
        server: fields.text("server_name")?.unwrap_or_default(),
        database: fields.name("database_name")?,
        cdc_enabled: fields.flag("is_cdc_enabled")?,
        collation: fields.text("collation_name")?,
        versions: match (fields.flag("is_read_committed_snapshot_on")?, state) {
            (true, _) => Versions::Always,
            (false, Some(SNAPSHOTS_ALLOWED)) => Versions::OnRequest,
            (false, _) => Versions::Never,
        },
    })
}

/// The failure that a database without change data capture is.
pub fn cdc_off(identity: &Identity) -> Failure {
    Failure::new(
        Code::SourceCdcOff,
        format!("change data capture is not enabled in database {}", identity.database),
    )
    .remedy(
        "run EXEC sys.sp_cdc_enable_db in it as sysadmin and enable its tables with \
         sys.sp_cdc_enable_table; if it was enabled before, changes since are lost: begin anew",
    )
}

/// The capture instances that the login may read.
pub async fn instances(lease: &mut Lease) -> Result<Vec<Instance>, Failure> {
    const OF: &str = "sys.sp_cdc_help_change_data_capture";
    let results = match lease.try_batch(statements::INSTANCES).await {
        Err(error) if error.code() == Some(statements::NO_INSTANCES) => return Ok(Vec::new()),
        answer => answer.map_err(|error| lease.classify(error, "list the capture instances"))?,
    };
    let instance = |row| {
        let fields = Fields::new(row, OF);
        Ok(Instance {
            name: fields.name("capture_instance")?,
            table: TableName {
                schema: fields.name("source_schema")?,
                table: fields.name("source_table")?,
            },
            change_table_id: fields.integer("object_id")?,
            table_id: fields.integer("source_object_id")?,
            start_lsn: fields.lsn("start_lsn")?,
            created: fields.datetime("create_date")?,
        })
    };
    results.iter().flatten().map(instance).collect()
}

/// A captured column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// Name.
    pub name: String,
    /// `column_id` in the source table when it was captured.
    pub column_id: i32,
    /// Its place in the update mask, from 1.
    pub ordinal: u32,
}

/// All that an instance's rows depend on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// Captured columns in mask order.
    pub captured: Vec<Captured>,
    /// Columns of the source table.
    pub source: Vec<RawColumn>,
    /// Columns of the change table.
    pub change_table: Vec<RawColumn>,
    /// Unique keys of the source table as `column_id`s, the primary key first.
    pub keys: Vec<UniqueKey>,
    /// Where and when the source table came to be; none where the server does not show it.
    pub origin: Option<Origin>,
}

/// A primary key or another unique index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UniqueKey {
    /// Whether it is the primary key.
    pub primary: bool,
    /// Its columns, in key order.
    pub columns: Vec<i32>,
}

/// Shapes of `instances`, in their order, as they are seen on this timeline of the log.
pub async fn shapes(
    lease: &mut Lease,
    timeline: u32,
    instances: &[&Instance],
) -> Result<Vec<Shape>, Failure> {
    let mut captured = captured_columns(lease, instances).await?;
    let objects = instances.iter().flat_map(|i| [i.table_id, i.change_table_id]);
    let columns = columns(lease, objects.collect()).await?;
    let keys = keys(lease, instances.iter().map(|i| i.table_id).collect()).await?;
    let created = created(lease, instances.iter().map(|i| i.table_id).collect()).await?;
    let of = |id: i32| columns.get(&id).cloned().unwrap_or_default();
    let shape = |instance: &&Instance| Shape {
        captured: captured.remove(&instance.name).unwrap_or_default(),
        source: of(instance.table_id),
        change_table: of(instance.change_table_id),
        keys: keys.get(&instance.table_id).cloned().unwrap_or_default(),
        origin: created.get(&instance.table_id).map(|&created| Origin { timeline, created }),
    };
    Ok(instances.iter().map(shape).collect())
}

async fn captured_columns(
    lease: &mut Lease,
    instances: &[&Instance],
) -> Result<BTreeMap<String, Vec<Captured>>, Failure> {
    const OF: &str = "sys.sp_cdc_get_captured_columns";
    let mut captured: BTreeMap<String, Vec<Captured>> = BTreeMap::new();
    for some in instances.chunks(AT_ONCE) {
        let calls: Vec<String> =
            some.iter().map(|i| statements::captured_columns(&i.name)).collect();
        let results = lease.batch(&calls.join("; "), "read the captured columns").await?;
        for row in results.iter().flatten() {
            let fields = Fields::new(row, OF);
            captured.entry(fields.name("capture_instance")?).or_default().push(Captured {
                name: fields.name("column_name")?,
                column_id: fields.integer("column_id")?,
                ordinal: fields.integer("column_ordinal")?,
            });
        }
    }
    captured.values_mut().for_each(|columns| columns.sort_by_key(|column| column.ordinal));
    Ok(captured)
}

/// Columns of objects, by `object_id`.
pub async fn columns(
    lease: &mut Lease,
    objects: Vec<i32>,
) -> Result<BTreeMap<i32, Vec<RawColumn>>, Failure> {
    let mut columns: BTreeMap<i32, Vec<RawColumn>> = BTreeMap::new();
    for some in objects.chunks(AT_ONCE) {
        let sql = statements::columns(some.iter().copied());
        for row in lease.batch(&sql, "read sys.columns").await?.iter().flatten() {
            let (object, column) = raw_column(row)?;
            columns.entry(object).or_default().push(column);
        }
    }
    Ok(columns)
}

fn raw_column(row: &Row) -> Result<(i32, RawColumn), Failure> {
    let fields = Fields::new(row, "sys.columns");
    let column = RawColumn {
        name: fields.name("name")?,
        column_id: fields.integer("column_id")?,
        system_type: fields.integer("system_type_id")?,
        user_type: fields.integer("user_type_id")?,
        max_length: fields.integer("max_length")?,
        precision: fields.integer("precision")?,
        scale: fields.integer("scale")?,
        collation: fields.text("collation_name")?,
        nullable: fields.flag("is_nullable")?,
        identity: fields.flag("is_identity")?,
        computed: fields.flag("is_computed")?,
    };
    Ok((fields.integer("object_id")?, column))
}

/// When tables were made, by `object_id`.
async fn created(lease: &mut Lease, tables: Vec<i32>) -> Result<BTreeMap<i32, i64>, Failure> {
    let mut created = BTreeMap::new();
    for some in tables.chunks(AT_ONCE) {
        let sql = statements::created(some.iter().copied());
        for row in lease.batch(&sql, "read sys.objects").await?.iter().flatten() {
            let fields = Fields::new(row, "sys.objects");
            created.insert(fields.integer("object_id")?, fields.datetime("create_date")?);
        }
    }
    Ok(created)
}

async fn keys(
    lease: &mut Lease,
    tables: Vec<i32>,
) -> Result<BTreeMap<i32, Vec<UniqueKey>>, Failure> {
    let mut keys: BTreeMap<i32, Vec<UniqueKey>> = BTreeMap::new();
    for some in tables.chunks(AT_ONCE) {
        let sql = statements::keys(some.iter().copied());
        let mut last = None;
        for row in lease.batch(&sql, "read sys.indexes").await?.iter().flatten() {
            let fields = Fields::new(row, "sys.indexes");
            let table: i32 = fields.integer("object_id")?;
            let index = Some((table, fields.integer::<i32>("index_id")?));
            let keys = keys.entry(table).or_default();
            if last != index {
                keys.push(UniqueKey {
                    primary: fields.flag("is_primary_key")?,
                    columns: Vec::new(),
                });
                last = index;
            }
            if let Some(key) = keys.last_mut() {
                key.columns.push(fields.integer("column_id")?);
            }
        }
    }
    Ok(keys)
}

/// A DDL statement that an instance's table saw.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ddl {
    /// Its LSN.
    pub lsn: Lsn,
    /// The table.
    pub table: TableName,
    /// The statement.
    pub command: String,
    /// `object_id` of the instance's change table.
    pub change_table_id: i32,
}

impl Ddl {
    /// The failure that it is until DDL can be followed.
    pub fn failure(&self) -> Failure {
        Failure::new(Code::SourceDdl, format!("{self}; everything committed before is in the log")).remedy("a change of a captured table's shape is not followed yet: bring the target to the new \
             shape, create a capture instance with it, and begin a new pipeline (new log)")
    }
}

impl std::fmt::Display for Ddl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let command = self.command.split_whitespace().collect::<Vec<_>>().join(" ");
        write!(f, "table {} was altered at LSN {}: {command}", self.table, self.lsn)
    }
}

/// How what CDC has of all instances may be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// From its table: one read for all instances.
    Table,
    /// From the procedure or function, for each instance.
    Each,
}

/// How capture may read what it can do without.
#[derive(Clone, Copy, Debug)]
pub struct Accesses {
    /// The DDL history: `cdc.ddl_history`, or `sys.sp_cdc_get_ddl_history`.
    pub ddl: Access,
    /// Low-water marks: `cdc.change_tables`, or `sys.fn_cdc_get_min_lsn`.
    pub marks: Access,
}

impl Default for Accesses {
    fn default() -> Self {
        Accesses { ddl: Access::Each, marks: Access::Each }
    }
}

/// Finds out what may be read. A refusal spoils the connection.
pub async fn ddl_access(lease: &mut Lease) -> Access {
    let highest = &Lsn::MAX.as_bytes()[..];
    match lease.query(statements::DDL_TABLE, &[&highest], "read cdc.ddl_history").await {
        Ok(_) => Access::Table,
        Err(_) => Access::Each,
    }
}

/// Finds out what may be read. A refusal spoils the connection.
pub async fn marks_access(lease: &mut Lease) -> Access {
    match lease.batch(statements::MARKS_TABLE, "read cdc.change_tables").await {
        Ok(_) => Access::Table,
        Err(_) => Access::Each,
    }
}

/// DDL that the tables of `instances` saw after `after`, in order. (A statement shows once for each
/// instance of its table; rows of older statements may be shown for a new one.)
pub async fn ddl(
    lease: &mut Lease,
    access: Access,
    instances: &[&Instance],
    after: Lsn,
) -> Result<Vec<Ddl>, Failure> {
    let mut found = match access {
        Access::Table => ddl_of_table(lease, instances, after).await?,
        Access::Each => ddl_of_procedure(lease, instances, after).await?,
    };
    found.sort();
    found.dedup();
    Ok(found)
}

async fn ddl_of_table(
    lease: &mut Lease,
    instances: &[&Instance],
    after: Lsn,
) -> Result<Vec<Ddl>, Failure> {
    let cursor = &after.as_bytes()[..];
    let results = lease.query(statements::DDL_TABLE, &[&cursor], "read cdc.ddl_history").await?;
    let mut found = Vec::new();
    for row in results.iter().flatten() {
        let fields = Fields::new(row, "cdc.ddl_history");
        let change_table: i32 = fields.integer("object_id")?;
        let Some(instance) = instances.iter().find(|i| i.change_table_id == change_table) else {
            continue;
        };
        found.extend(ddl_row(&fields, instance, after)?);
    }
    Ok(found)
}

async fn ddl_of_procedure(
    lease: &mut Lease,
    instances: &[&Instance],
    after: Lsn,
) -> Result<Vec<Ddl>, Failure> {
    let mut found = Vec::new();
    for some in instances.chunks(IN_ONE_BATCH) {
        let calls: Vec<String> = some.iter().map(|i| statements::ddl_history(&i.name)).collect();
        let results = lease.batch(&calls.join("; "), "read the DDL history").await?;
        for row in results.iter().flatten() {
            let fields = Fields::new(row, "sys.sp_cdc_get_ddl_history");
            let name = fields.name("capture_instance")?;
            let Some(instance) = some.iter().find(|i| i.name == name) else { continue };
            found.extend(ddl_row(&fields, instance, after)?);
        }
    }
    Ok(found)
}

fn ddl_row(fields: &Fields<'_>, instance: &Instance, after: Lsn) -> Result<Option<Ddl>, Failure> {
    let Some(lsn) = fields.lsn("ddl_lsn")?.filter(|lsn| *lsn > after) else { return Ok(None) };
    Ok(Some(Ddl {
        lsn,
        table: instance.table.clone(),
        command: fields.text("ddl_command")?.unwrap_or_default(),
        change_table_id: instance.change_table_id,
    }))
}

/// Low-water marks of `instances`, in their order; none for NULL and zero.
pub async fn low_water_marks(
    lease: &mut Lease,
    access: Access,
    instances: &[&Instance],
) -> Result<Vec<Option<Lsn>>, Failure> {
    const DOING: &str = "read the low-water marks";
    // For a few, the function asks for less.
    if access == Access::Table && instances.len() > GROUP {
        return marks_of_table(lease, instances).await;
    }
    let mut marks = Vec::with_capacity(instances.len());
    for some in instances.chunks(IN_ONE_BATCH) {
        let names: Vec<&str> = some.iter().map(|i| i.name.as_str()).collect();
        let sql: Vec<String> = names.chunks(GROUP).map(statements::low_water_marks).collect();
        let results = lease.batch(&sql.join("; "), DOING).await?;
        let answers = lsns(&results, "sys.fn_cdc_get_min_lsn")?;
        if answers.len() != some.len() {
            return Err(super::wrong_results(DOING));
        }
        marks.extend(answers);
    }
    Ok(marks)
}

/// The LSNs of all columns of all rows, in their order.
fn lsns(results: &[Vec<Row>], of: &'static str) -> Result<Vec<Option<Lsn>>, Failure> {
    let mut lsns = Vec::new();
    for row in results.iter().flatten() {
        let fields = Fields::new(row, of);
        for i in 0..row.len() {
            lsns.push(fields.lsn_at(i)?);
        }
    }
    Ok(lsns)
}

async fn marks_of_table(
    lease: &mut Lease,
    instances: &[&Instance],
) -> Result<Vec<Option<Lsn>>, Failure> {
    let results = lease.batch(statements::MARKS_TABLE, "read the low-water marks").await?;
    let mut marks = HashMap::new();
    for row in results.iter().flatten() {
        let fields = Fields::new(row, "cdc.change_tables");
        marks.insert(fields.name("capture_instance")?, fields.lsn("start_lsn")?);
    }
    Ok(instances.iter().map(|i| marks.get(&i.name).copied().flatten()).collect())
}

/// The first LSN in `(after, through]` at which each of `instances` has changes, in their order.
pub async fn first_changes(
    lease: &mut Lease,
    instances: &[&Instance],
    after: Lsn,
    through: Lsn,
) -> Result<Vec<Option<Lsn>>, Failure> {
    const DOING: &str = "look for changes";
    let (after, through) = (&after.as_bytes()[..], &through.as_bytes()[..]);
    let mut firsts = Vec::with_capacity(instances.len());
    for some in instances.chunks(IN_ONE_BATCH) {
        let names: Vec<&str> = some.iter().map(|i| i.name.as_str()).collect();
        let sql = statements::first_changes(names.chunks(GROUP));
        let results = lease.query(&sql, &[&after, &through], DOING).await?;
        let answers = lsns(&results, "the change tables")?;
        // One that was not answered would be taken for one without changes.
        if answers.len() != some.len() {
            return Err(super::wrong_results(DOING));
        }
        firsts.extend(answers);
    }
    Ok(firsts)
}
