//! A server with CDC, and statements without T-SQL.

use std::sync::Arc;

use mssql_double::cdc::{self, Access, CaptureJob, Context, ProcedureError, ScanOutcome};
use mssql_double::storage::*;
use mssql_double::{
    Cancelled, Column, EnvChange, IsolationLevel, Param, ResultSink, SqlError, SqlType, Value,
};

/// What a caller may do.
#[derive(Clone, Default)]
pub struct Rights {
    pub owner: bool,
    pub roles: Vec<String>,
    pub select: bool,
}

impl Access for Rights {
    fn is_sysadmin(&self) -> bool {
        self.owner
    }
    fn is_db_owner(&self) -> bool {
        self.owner
    }
    fn is_role_member(&self, role: &str) -> bool {
        self.roles.iter().any(|held| held == role)
    }
    fn can_select(&self, _: ObjectId, _: &[ColumnId]) -> bool {
        self.select
    }
}

/// Keeps what a procedure sends.
#[derive(Default)]
pub struct Kept {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Value>>,
    pub messages: Vec<SqlError>,
    pub values: Vec<Param>,
}

impl ResultSink for Kept {
    fn columns(&mut self, columns: &[Column]) -> Result<(), Cancelled> {
        self.columns = columns.iter().map(|column| column.name.clone()).collect();
        Ok(())
    }
    fn row(&mut self, row: &[Value]) -> Result<(), Cancelled> {
        self.rows.push(row.to_vec());
        Ok(())
    }
    fn done(&mut self, _: Option<u64>) -> Result<(), Cancelled> {
        Ok(())
    }
    fn message(&mut self, message: &SqlError) -> Result<(), Cancelled> {
        self.messages.push(message.clone());
        Ok(())
    }
    fn env_change(&mut self, _: &EnvChange) -> Result<(), Cancelled> {
        Ok(())
    }
    fn return_status(&mut self, _: i32) -> Result<(), Cancelled> {
        Ok(())
    }
    fn return_value(&mut self, param: &Param) -> Result<(), Cancelled> {
        self.values.push(param.clone());
        Ok(())
    }
}

/// A server with a database whose clock stands still; the Agent is stopped, tests step.
pub struct Server {
    pub storage: Arc<Storage>,
    pub database: Arc<Database>,
    pub job: CaptureJob,
    pub rights: Rights,
}

impl Server {
    pub fn new() -> Server {
        Server::open(StorageOptions::default())
    }

    pub fn open(options: StorageOptions) -> Server {
        let storage =
            Storage::open(StorageOptions { agent_stopped: true, ..options }).expect("it opens");
        let database = match storage.database("d") {
            Some(database) => database,
            None => storage.create_database("d").expect("a new name"),
        };
        storage.clock().freeze();
        let job = CaptureJob::of(&storage, &database);
        let rights = Rights { owner: true, ..Rights::default() };
        Server { storage, database, job, rights }
    }

    /// The same with CDC on.
    pub fn enabled() -> Server {
        let server = Server::new();
        server.run("sys.sp_cdc_enable_db", &[]).expect("CDC goes on");
        server
    }

    pub fn begin(&self) -> Txn {
        self.database.begin(IsolationLevel::ReadCommitted)
    }

    /// Runs something in a transaction and commits it; answers the commit LSN.
    pub fn commit<T>(&self, work: impl FnOnce(&mut Txn) -> T) -> (T, Lsn) {
        let mut txn = self.begin();
        let done = work(&mut txn);
        let lsn = txn.commit().expect("it commits").expect("it has written");
        (done, lsn)
    }

    /// EXEC `name` with named arguments, autocommitted.
    pub fn run(&self, name: &str, arguments: &[(&str, Value)]) -> Result<Kept, SqlError> {
        self.run_as(&self.rights, name, arguments)
    }

    pub fn run_as(
        &self,
        rights: &Rights,
        name: &str,
        arguments: &[(&str, Value)],
    ) -> Result<Kept, SqlError> {
        let procedure = cdc::procedure(name).expect("there is such a procedure");
        let arguments: Vec<Param> = arguments
            .iter()
            .map(|(name, value)| Param {
                name: (*name).to_owned(),
                ty: SqlType::Int,
                value: value.clone(),
                output: *name == "@fCleanupFailed",
            })
            .collect();
        let mut kept = Kept::default();
        let mut txn = self.begin();
        let mut context = Context { storage: &self.storage, txn: &mut txn, access: rights };
        match procedure.call(&mut context, &arguments, &mut kept) {
            Ok(status) => {
                assert_eq!(status, 0);
                txn.commit().expect("it commits");
                Ok(kept)
            }
            Err(ProcedureError::Sql(error)) => Err(error),
            Err(ProcedureError::Cancelled) => panic!("nobody cancels"),
        }
    }

    pub fn fault(&self, name: &str, value: &str) {
        self.run(
            "double.set_fault",
            &[("@name", Value::text(name)), ("@value", Value::text(value))],
        )
        .expect("there is such a switch");
    }

    pub fn call(&self, name: &str, arguments: &[Value]) -> Result<Value, SqlError> {
        self.call_as(&self.rights, name, arguments)
    }

    pub fn call_as(
        &self,
        rights: &Rights,
        name: &str,
        arguments: &[Value],
    ) -> Result<Value, SqlError> {
        let function = cdc::scalar_function(name).expect("there is such a function");
        let mut txn = self.begin();
        let mut context = Context { storage: &self.storage, txn: &mut txn, access: rights };
        function.call(&mut context, arguments)
    }

    /// SELECT * from a table function.
    pub fn select_from(
        &self,
        rights: &Rights,
        name: &str,
        arguments: &[Value],
    ) -> Result<Vec<Row>, SqlError> {
        let mut txn = self.begin();
        let mut context = Context { storage: &self.storage, txn: &mut txn, access: rights };
        let function =
            cdc::table_function(&mut context, name)?.ok_or_else(|| invalid_object(name))?;
        let rows = function.open(&mut context, arguments)?;
        rows.collect()
    }

    pub fn create(&self, table: TableDef) -> ObjectId {
        self.commit(|txn| txn.create_table(table).expect("a new table").id).0
    }

    /// `dbo.t(k int primary key, v int, note nvarchar(max))`
    pub fn create_t(&self) -> ObjectId {
        self.create(
            TableDef::new(
                "dbo",
                "t",
                vec![
                    ColumnDef::new("k", SqlType::Int, false),
                    ColumnDef::new("v", SqlType::Int, false),
                    ColumnDef::new("note", SqlType::NVarChar(None), true),
                ],
            )
            .with_index("pk_t", IndexKind::PrimaryKey, true, true, &["k"]),
        )
    }

    pub fn enable(&self, table: &str, instance: Option<&str>) -> Result<Kept, SqlError> {
        let mut arguments = vec![
            ("@source_schema", Value::text("dbo")),
            ("@source_name", Value::text(table)),
            ("@role_name", Value::Null),
        ];
        arguments.extend(instance.map(|name| ("@capture_instance", Value::text(name))));
        self.run("sys.sp_cdc_enable_table", &arguments)
    }

    /// One cycle of the default size.
    pub fn scan(&self) -> ScanOutcome {
        self.job.step(500, 10).expect("a scan succeeds")
    }

    /// Rows of a `cdc` table in clustered order.
    pub fn rows(&self, table: &str) -> Vec<Row> {
        let mut txn = self.begin();
        let def = txn
            .table("cdc", table)
            .expect("no wait")
            .unwrap_or_else(|| panic!("no table cdc.{table}"));
        let view = txn.statement_view().expect("READ COMMITTED needs nothing");
        view.scan(def.id, None, KeyRange::all(), Direction::Forward)
            .expect("it is there")
            .map(|row| row.expect("a scan does not fail").1)
            .collect()
    }

    /// Mapping rows of transactions (not dummies).
    pub fn real_mappings(&self) -> Vec<Row> {
        self.rows("lsn_time_mapping")
            .into_iter()
            .filter(|row| row[3] != Value::binary(&[0]))
            .collect()
    }
}

pub fn lsn(value: &Value) -> Lsn {
    Lsn::from_value(value).expect("an LSN")
}

pub fn int(value: &Value) -> i64 {
    value.as_i64().expect("an integer")
}

pub fn t(k: i32, v: i32, note: &str) -> Row {
    Arc::new([Value::Int(k), Value::Int(v), Value::text(note)])
}

/// Operations and command ids of change rows.
pub fn commands(rows: &[Row]) -> Vec<(i64, i64)> {
    rows.iter().map(|row| (int(&row[3]), int(row.last().expect("a command id")))).collect()
}

pub fn number<T>(result: Result<T, SqlError>) -> Option<i32> {
    result.err().map(|error| error.number)
}
