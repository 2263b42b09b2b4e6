//! The server: its databases, clock, backups and faults.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::database::Shared;
use super::faults::Faults;
use super::image::write_image;
use super::state::{State, TxnState};
use super::wal::{self, Wal};
use super::{Clock, Database, DatabaseInfo, Injection, Lsn, LsnAllocator, TxnId, same_name};
use crate::SqlError;
use crate::product::Release;

/// How a server is opened.
#[derive(Clone, Debug, Default)]
pub struct StorageOptions {
    /// Where committed work is kept; `None` keeps it in memory only.
    pub data: Option<PathBuf>,
    /// Bytes of log after which a database is checkpointed; `None` is 64 MiB.
    pub checkpoint_bytes: Option<u64>,
    /// Open with the Agent stopped: no capture job starts by itself.
    pub agent_stopped: bool,
    /// Which SQL Server it is.
    pub release: Release,
}

/// How long RESTORE waits for transactions that are just ending.
const RESTORE_PATIENCE: Duration = Duration::from_secs(3);

const SYSTEM: [(i32, &str); 4] = [(1, "master"), (2, "tempdb"), (3, "model"), (4, "msdb")];

/// Setting of `master` that keeps `max text repl size`.
const TEXT_REPL_SIZE: &str = "max text repl size";

/// Everything behind one server: databases by name, the clock, faults.
pub struct Storage {
    options: StorageOptions,
    shared: Arc<Shared>,
    databases: RwLock<BTreeMap<i32, Arc<Database>>>,
    /// Backups of a server without a directory.
    backups: Mutex<HashMap<String, Vec<u8>>>,
    faults: Faults,
    server_name: RwLock<String>,
    pub(crate) cdc: crate::cdc::Server,
}

impl Storage {
    /// Which SQL Server it is.
    pub fn release(&self) -> Release {
        self.options.release
    }

    /// Opens a server: replays what its directory holds, or starts with the system databases
    /// (master 1, tempdb 2, model 3, msdb 4).
    ///
    /// # Errors
    /// What the directory's files cannot be read or written for.
    pub fn open(options: StorageOptions) -> anyhow::Result<Arc<Storage>> {
        let cdc = crate::cdc::Server::new(options.agent_stopped);
        let storage = Arc::new(Storage {
            options,
            shared: Arc::new(Shared {
                clock: Arc::new(Clock::default()),
                next_txn: AtomicU64::new(1000),
                max_text_repl_size: AtomicI64::new(65_536),
            }),
            databases: RwLock::default(),
            backups: Mutex::default(),
            faults: Faults::default(),
            server_name: RwLock::new(crate::product::SERVER_NAME.to_owned()),
            cdc,
        });
        storage.open_databases()?;
        let kept = storage.database("master").and_then(|master| master.setting(TEXT_REPL_SIZE));
        if let Some(bytes) = kept.and_then(|bytes| bytes.parse().ok()) {
            storage.shared.max_text_repl_size.store(bytes, Ordering::Relaxed);
        }
        crate::cdc::Server::start(&storage);
        Ok(storage)
    }

    fn open_databases(&self) -> anyhow::Result<()> {
        if let Some(data) = &self.options.data {
            fs::create_dir_all(data)
                .with_context(|| format!("cannot create {}", data.display()))?;
            for entry in fs::read_dir(data)? {
                let path = entry?.path();
                let name = path.file_name().and_then(|name| name.to_str());
                if name.is_some_and(|name| name.starts_with("db")) {
                    self.open_database(&path)?;
                }
            }
        }
        for (id, name) in SYSTEM {
            if self.database_by_id(id).is_none() {
                self.add_database(State::new(self.new_info(id, name)))?;
            }
        }
        Ok(())
    }

    fn open_database(&self, folder: &Path) -> anyhow::Result<()> {
        let Some((state, mut wal, last_txn)) = Wal::open(folder)? else {
            fs::remove_dir_all(folder)?;
            return Ok(());
        };
        self.tune(&mut wal);
        self.shared.next_txn.fetch_max(last_txn + 1, Ordering::Relaxed);
        let database = Database::new(state, self.shared.clone(), Some(wal));
        self.write_databases().insert(database.id(), database);
        Ok(())
    }

    fn tune(&self, wal: &mut Wal) {
        if let Some(bytes) = self.options.checkpoint_bytes {
            wal.set_checkpoint_bytes(bytes);
        }
    }

    fn add_database(&self, state: State) -> anyhow::Result<Arc<Database>> {
        let id = state.info.id;
        let tempdb = id == 2;
        let mut wal = match &self.options.data {
            Some(data) if !tempdb => {
                Some(Wal::create(&data.join(format!("db{id}")), &state, self.last_txn())?)
            }
            _ => None,
        };
        if let Some(wal) = &mut wal {
            self.tune(wal);
        }
        let database = Database::new(state, self.shared.clone(), wal);
        self.write_databases().insert(id, database.clone());
        Ok(database)
    }

    fn new_info(&self, id: i32, name: &str) -> DatabaseInfo {
        let guid = || uuid::Uuid::new_v4().to_bytes_le();
        let (family, fork) = (guid(), guid());
        let model = self.database("model").map(|model| model.info());
        DatabaseInfo {
            id,
            name: name.to_owned(),
            create_date: self.shared.clock.local_now(),
            allow_snapshot: false,
            read_committed_snapshot: model.is_none_or(|model| model.read_committed_snapshot),
            cdc_enabled: false,
            published: false,
            collation: crate::engine::collation::NAME.to_owned(),
            compatibility_level: self.options.release.compatibility_level(),
            database_guid: guid(),
            family_guid: family,
            recovery_fork_guid: fork,
        }
    }

    fn last_txn(&self) -> u64 {
        self.shared.next_txn.load(Ordering::Relaxed)
    }

    fn write_databases(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<i32, Arc<Database>>> {
        self.databases.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server's clock.
    pub fn clock(&self) -> &Arc<Clock> {
        &self.shared.clock
    }

    /// A database by name (case-insensitive).
    pub fn database(&self, name: &str) -> Option<Arc<Database>> {
        self.databases().into_iter().find(|database| same_name(&database.name(), name))
    }

    /// A database by `database_id`.
    pub fn database_by_id(&self, id: i32) -> Option<Arc<Database>> {
        self.databases.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// All databases by id.
    pub fn databases(&self) -> Vec<Arc<Database>> {
        self.databases.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// CREATE DATABASE.
    ///
    /// # Errors
    /// 1801 if it exists, 5120 if its files cannot be written.
    pub fn create_database(&self, name: &str) -> Result<Arc<Database>, SqlError> {
        if self.database(name).is_some() {
            return Err(SqlError::new(
                1801,
                16,
                3,
                format!("Database '{name}' already exists. Choose a different database name."),
            ));
        }
        self.add_database(State::new(self.new_info(self.free_id(), name))).map_err(file_error)
    }

    fn free_id(&self) -> i32 {
        (5..).find(|id| self.database_by_id(*id).is_none()).unwrap_or(i32::MAX)
    }

    /// DROP DATABASE.
    ///
    /// # Errors
    /// 3701 if there is none, 3702 while transactions are open in it (of which sessions *use* it
    /// without one only the executor knows), 3708 for a system database.
    pub fn drop_database(&self, name: &str) -> Result<(), SqlError> {
        let database = self.database(name).ok_or_else(|| {
            SqlError::new(
                3701,
                11,
                1,
                format!("Cannot drop the database '{name}', because it does not exist or you do not have permission."),
            )
        })?;
        if database.id() <= 4 {
            return Err(SqlError::new(
                3708,
                16,
                4,
                format!("Cannot drop the database '{name}' because it is a system database."),
            ));
        }
        self.cdc.stop_capture(&database);
        if !database.lock().txns.is_empty() {
            return Err(SqlError::new(
                3702,
                16,
                3,
                format!("Cannot drop database \"{name}\" because it is currently in use."),
            ));
        }
        crate::cdc::forget_jobs(self, database.id())?;
        self.write_databases().remove(&database.id());
        match &database.wal {
            Some(wal) => wal.remove().map_err(|error| file_error(error.into())),
            None => Ok(()),
        }
    }

    /// BACKUP DATABASE … TO DISK = `file`: the committed state of now, LSNs included. Files live
    /// in the data directory's `backup` folder (in memory without one); only the last part of
    /// the path counts.
    ///
    /// # Errors
    /// 911 for an unknown database, 3201 if the file cannot be written.
    pub fn backup(&self, database: &str, file: &str) -> Result<(), SqlError> {
        let database = self.find(database)?;
        let until = Instant::now() + Duration::from_secs(600);
        let (mut state, quiet) = database.wait_until(until, |state| !state.ddl_under_way());
        if !quiet {
            return Err(backup_error(file, "a catalogue change does not end"));
        }
        if let Some(wal) = &database.wal {
            wal.settle(&mut state)?;
        }
        let image = write_image(&state, self.last_txn());
        drop(state);
        database.notify();
        let name = file_name(file);
        match self.backup_folder() {
            None => {
                self.lock_backups().insert(name, image);
            }
            Some(folder) => {
                fs::create_dir_all(&folder)
                    .map_err(|error| backup_error(file, &error.to_string()))?;
                wal::write_durably(&folder, &name, &image)
                    .map_err(|error| backup_error(file, &error.to_string()))?;
            }
        }
        Ok(())
    }

    /// RESTORE DATABASE … FROM DISK = `file`: everything as at the backup, LSNs rewound, a new
    /// `recovery_fork_guid`, over the database of that name or as a new one. CDC stays when the
    /// database has the name it was backed up under (SQL Server's rule for the same server), and
    /// is dropped otherwise unless `keep_cdc`. A capture job of the database stops, and starts
    /// again if CDC stays. Transactions that are just ending are waited for.
    ///
    /// # Errors
    /// 3201 without such a file, 3241 for one that is no backup, 3101 while transactions are
    /// open in the database.
    pub fn restore(
        self: &Arc<Self>,
        database: &str,
        file: &str,
        keep_cdc: bool,
    ) -> Result<(), SqlError> {
        let image = self.read_backup(file)?;
        let (mut new, last_txn) = wal::read_backup(&image).map_err(|_| {
            SqlError::new(3241, 16, 0, format!("The media family on device '{file}' is incorrectly formed. SQL Server cannot process this media family."))
        })?;
        self.shared.next_txn.fetch_max(last_txn + 1, Ordering::Relaxed);
        let keeps = keep_cdc || same_name(&new.info.name, database);
        let drop_cdc = new.info.cdc_enabled && !keeps;
        new.info.name = database.to_owned();
        new.info.create_date = self.shared.clock.local_now();
        new.info.recovery_fork_guid = uuid::Uuid::new_v4().to_bytes_le();
        let target = match self.database(database) {
            Some(target) => {
                self.cdc.stop_capture(&target);
                self.replace(&target, new, database)?;
                target
            }
            None => {
                new.info.id = self.free_id();
                self.add_database(new).map_err(file_error)?
            }
        };
        if drop_cdc {
            crate::cdc::drop_database_cdc(&target)?;
        }
        crate::cdc::Server::start_capture(self, &target);
        Ok(())
    }

    /// Marks the moment that [`fail_over`](Storage::fail_over) goes back to: up to here a secondary has
    /// the log.
    ///
    /// # Errors
    /// As [`backup`](Storage::backup).
    pub fn mark(&self, database: &Database) -> Result<(), SqlError> {
        let name = database.name();
        self.backup(&name, &format!("failover mark {name}"))
    }

    /// A forced failover with loss: commits since the mark are gone, change tables among them, a new
    /// recovery fork begins, and the log goes on with LSNs that were used before. Open transactions are
    /// gone, but for the caller's, which has done nothing.
    ///
    /// # Errors
    /// 3201 without a mark.
    pub fn fail_over(
        self: &Arc<Self>,
        database: &Arc<Database>,
        caller: TxnId,
    ) -> Result<(), SqlError> {
        let name = database.name();
        let image = self.read_backup(&format!("failover mark {name}"))?;
        let (mut new, _) =
            wal::read_backup(&image).map_err(|_| backup_error(&name, "the mark cannot be read"))?;
        new.info.recovery_fork_guid = uuid::Uuid::new_v4().to_bytes_le();
        self.cdc.stop_capture(database);
        let now = self.shared.clock.local_now();
        let mut state = database.lock();
        new.info.id = state.info.id;
        new.incarnation = state.incarnation + 1;
        if let Some(own) = state.txns.get(&caller) {
            new.txns.insert(caller, TxnState::new(caller, own.isolation, now));
        }
        if let Some(wal) = &database.wal {
            wal.replace(&mut state, &new, self.last_txn()).map_err(file_error)?;
        }
        *state = new;
        drop(state);
        database.notify();
        crate::cdc::Server::start_capture(self, database);
        Ok(())
    }

    /// `@@SERVERNAME`
    pub fn server_name(&self) -> String {
        self.server_name.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Gives the server another name, as the secondary has that took over.
    pub fn set_server_name(&self, name: String) {
        *self.server_name.write().unwrap_or_else(PoisonError::into_inner) = name;
    }

    fn replace(&self, target: &Arc<Database>, mut new: State, name: &str) -> Result<(), SqlError> {
        let until = Instant::now() + RESTORE_PATIENCE;
        let (mut state, quiet) = target.wait_until(until, |state| state.txns.is_empty());
        if !quiet {
            return Err(SqlError::new(
                3101,
                16,
                1,
                format!(
                    "Exclusive access could not be obtained because the database is in use. ('{name}')"
                ),
            ));
        }
        new.info.id = state.info.id;
        new.incarnation = state.incarnation + 1;
        if let Some(wal) = &target.wal {
            wal.replace(&mut state, &new, self.last_txn()).map_err(file_error)?;
        }
        *state = new;
        drop(state);
        target.notify();
        Ok(())
    }

    fn read_backup(&self, file: &str) -> Result<Vec<u8>, SqlError> {
        let name = file_name(file);
        match self.backup_folder() {
            None => self
                .lock_backups()
                .get(&name)
                .cloned()
                .ok_or_else(|| backup_error(file, "no such file")),
            Some(folder) => {
                fs::read(folder.join(name)).map_err(|error| backup_error(file, &error.to_string()))
            }
        }
    }

    fn backup_folder(&self) -> Option<PathBuf> {
        self.options.data.as_ref().map(|data| data.join("backup"))
    }

    fn lock_backups(&self) -> MutexGuard<'_, HashMap<String, Vec<u8>>> {
        self.backups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, name: &str) -> Result<Arc<Database>, SqlError> {
        self.database(name).ok_or_else(|| {
            SqlError::new(
                911,
                16,
                1,
                format!("Database '{name}' does not exist. Make sure that the name is entered correctly."),
            )
        })
    }

    /// `max text repl size`, bytes; -1 is no limit.
    pub fn max_text_repl_size(&self) -> i64 {
        self.shared.max_text_repl_size.load(Ordering::Relaxed)
    }

    /// Sets `max text repl size` (sp_configure).
    ///
    /// # Errors
    /// 9001 if it cannot be kept.
    pub fn set_max_text_repl_size(&self, bytes: i64) -> Result<(), SqlError> {
        self.shared.max_text_repl_size.store(bytes, Ordering::Relaxed);
        self.find("master")?.set_setting(TEXT_REPL_SIZE, Some(&bytes.to_string()))
    }

    /// To be called once per object a statement touches, before it runs: answers the error a
    /// test has asked for, counting down.
    ///
    /// # Errors
    /// The injected one.
    pub fn touch(&self, database: &str, object: &str) -> Result<(), SqlError> {
        self.faults.touch(database, object)
    }

    /// Has statements fail.
    pub fn inject(&self, injection: Injection) {
        self.faults.inject(injection);
    }

    /// Takes all injections back.
    pub fn clear_injections(&self) {
        self.faults.clear();
    }

    /// Moves a database's LSNs forward to at least `lsn`, as another log with a longer history
    /// would have (a test's way to a VLF rollover).
    pub fn advance_lsn(&self, database: &Database, lsn: Lsn) {
        let mut state = database.lock();
        if lsn > state.log.last {
            state.log.lsns = LsnAllocator::after(lsn);
        }
    }

    /// Ends background work. Idempotent; committed work needs no flush.
    pub fn shutdown(&self) {
        self.cdc.shutdown(self);
    }
}

impl Database {
    pub(super) fn last_txn(&self) -> u64 {
        self.shared.next_txn.load(Ordering::Relaxed)
    }
}

/// The last part of a path in either notation, safe as a file name.
fn file_name(path: &str) -> String {
    let last = path.rsplit(['/', '\\']).next().unwrap_or(path);
    let safe = |c: char| if c.is_alphanumeric() || "._-".contains(c) { c } else { '_' };
    format!("b{}", last.chars().map(safe).collect::<String>().to_lowercase())
}

fn backup_error(file: &str, cause: &str) -> SqlError {
    SqlError::new(
        3201,
        16,
        2,
        format!("Cannot open backup device '{file}'. Operating system error {cause}."),
    )
}

fn file_error(error: anyhow::Error) -> SqlError {
    SqlError::new(5120, 16, 101, format!("Unable to open the physical file: {error:#}."))
}
