//! The server: storage, logins, parsed batches shared by all sessions.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI16, AtomicU64, Ordering};

use super::parsed::ParsedBatches;
use super::security::{Rights, load_logins};
use super::session::Session;
use super::syntax::ast::Batch;
use crate::SqlError;
use crate::product::Release;
use crate::storage::{Database, Storage, StorageOptions};

/// First `@@SPID` of a client.
const FIRST_SPID: i16 = 51;

/// How a server is opened.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where committed work is kept; `None` keeps it in memory only.
    pub data: Option<PathBuf>,
    /// Password of `sa`.
    pub sa_password: String,
    /// Which SQL Server it is.
    pub release: Release,
}

/// What sessions share.
pub struct Shared {
    /// Databases.
    pub storage: Arc<Storage>,
    /// Which SQL Server it is.
    pub release: Release,
    sa_password: String,
    next_spid: AtomicI16,
    security_epoch: AtomicU64,
    batches: ParsedBatches,
}

/// A server.
pub struct Server {
    shared: Arc<Shared>,
}

impl Server {
    /// Opens a server with its system databases and what its directory holds.
    ///
    /// # Errors
    /// What the directory's files cannot be read or written for.
    pub fn open(config: Config) -> anyhow::Result<Server> {
        let storage = Storage::open(StorageOptions {
            data: config.data,
            release: config.release,
            ..StorageOptions::default()
        })?;
        Ok(Server {
            shared: Arc::new(Shared {
                storage,
                release: config.release,
                sa_password: config.sa_password,
                next_spid: AtomicI16::new(FIRST_SPID),
                security_epoch: AtomicU64::new(0),
                batches: ParsedBatches::default(),
            }),
        })
    }

    /// Storage beneath, for tests and the program.
    pub fn storage(&self) -> &Arc<Storage> {
        &self.shared.storage
    }

    /// Logs in; an empty database is the login's default one.
    ///
    /// # Errors
    /// 18456 for a wrong name or password, 4060 for a database that cannot be opened.
    pub fn login(&self, user: &str, password: &str, database: &str) -> Result<Session, SqlError> {
        let failed = || SqlError::new(18456, 14, 1, format!("Login failed for user '{user}'."));
        let (login, sysadmin, default) = if user.eq_ignore_ascii_case("sa") {
            let same = self.shared.sa_password.len() == password.len()
                && openssl::memcmp::eq(self.shared.sa_password.as_bytes(), password.as_bytes());
            if !same {
                return Err(failed());
            }
            ("sa".to_owned(), true, None)
        } else {
            let login = self.shared.login(user)?.ok_or_else(failed)?;
            if !login.accepts(password) {
                return Err(failed());
            }
            (login.name.clone(), login.sysadmin, login.database.clone())
        };
        let name = match (database.is_empty(), default) {
            (false, _) => database.to_owned(),
            (true, Some(default)) => default,
            (true, None) => "master".to_owned(),
        };
        let cannot_open = || {
            SqlError::new(
                4060,
                11,
                1,
                format!(
                    "Cannot open database \"{name}\" requested by the login. The login failed."
                ),
            )
        };
        let database = self.shared.storage.database(&name).ok_or_else(cannot_open)?;
        let rights =
            self.shared.rights_of(&login, sysadmin, &database).map_err(|_| cannot_open())?;
        let spid = self.shared.next_spid();
        Ok(Session::new(Arc::clone(&self.shared), spid, login, database, rights))
    }

    /// Ends background work and flushes.
    pub fn shutdown(&self) {
        self.shared.storage.shutdown();
    }
}

impl Shared {
    fn next_spid(&self) -> i16 {
        let wrap = |spid: i16| Some(if spid == i16::MAX { FIRST_SPID } else { spid + 1 });
        self.next_spid
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, wrap)
            .unwrap_or(FIRST_SPID)
    }

    /// A SQL login by name.
    ///
    /// # Errors
    /// 8624 if the logins are damaged.
    pub fn login(&self, name: &str) -> Result<Option<super::security::Login>, SqlError> {
        let logins = load_logins(&self.storage)?;
        Ok(logins.into_iter().find(|login| super::bind::same_name(&login.name, name)))
    }

    /// Rights of a login in a database.
    ///
    /// # Errors
    /// 916.
    pub fn rights_of(
        &self,
        login: &str,
        sysadmin: bool,
        database: &Database,
    ) -> Result<Arc<Rights>, SqlError> {
        let known = self.login(login)?;
        let sysadmin = sysadmin || known.as_ref().is_some_and(|login| login.sysadmin);
        let server = known.map(|login| login.permissions).unwrap_or_default();
        Rights::of_login(login, sysadmin, &server, database).map(Arc::new)
    }

    /// Rights of the same user in another database.
    ///
    /// # Errors
    /// 916.
    pub fn rights_in(&self, rights: &Rights, database: &Database) -> Result<Arc<Rights>, SqlError> {
        self.rights_of(&rights.login, rights.sysadmin, database)
    }

    /// Changes whenever principals or permissions do.
    pub fn security_epoch(&self) -> u64 {
        self.security_epoch.load(Ordering::Acquire)
    }

    /// Says that principals or permissions have changed.
    pub fn security_changed(&self) {
        self.security_epoch.fetch_add(1, Ordering::AcqRel);
    }

    /// A batch, parsed once as long as it is used.
    ///
    /// # Errors
    /// 102 and its kin.
    pub fn parse(&self, text: &str) -> Result<Arc<Batch>, SqlError> {
        self.batches.parse(text)
    }
}
