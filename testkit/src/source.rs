//! The source database as the test bed sees it: through tiberius, with T-SQL of its own.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::TryStreamExt;
use lockstep_servers::Double;
use tiberius::{AuthMethod, Client, Config, EncryptionLevel, Row};
use tokio::net::TcpStream;
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt};

/// Where a SQL Server database is and who asks.
#[derive(Clone, Debug)]
pub struct Source {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Login.
    pub user: String,
    /// Password.
    pub password: String,
    /// Database.
    pub database: String,
}

impl Source {
    /// A database on a double.
    pub fn on(double: &Double, database: &str) -> Self {
        Source {
            host: double.address().ip().to_string(),
            port: double.address().port(),
            user: "sa".to_owned(),
            password: double.password().to_owned(),
            database: database.to_owned(),
        }
    }

    /// Reads `mssql://user:password@host:port/database`; the password may hold any character but
    /// needs no escapes, since the host begins after the last `@`.
    ///
    /// # Errors
    /// When the text is not of that form.
    pub fn parse(url: &str) -> Result<Self> {
        let parts = (|| {
            let (login, place) = url.strip_prefix("mssql://")?.rsplit_once('@')?;
            let (user, password) = login.split_once(':')?;
            let (address, database) = place.split_once('/')?;
            let (host, port) = address.rsplit_once(':').unwrap_or((address, "1433"));
            Some(Source {
                host: host.to_owned(),
                port: port.parse().ok()?,
                user: user.to_owned(),
                password: password.to_owned(),
                database: database.to_owned(),
            })
        })();
        parts.filter(|source| !source.database.is_empty()).with_context(|| {
            // The text may hold a password, so it is not repeated.
            "the source URL is not mssql://user:password@host:port/database"
        })
    }

    /// The same server, another database.
    pub fn with_database(&self, database: &str) -> Self {
        Source { database: database.to_owned(), ..self.clone() }
    }

    /// Opens a connection. READ COMMITTED; a statement may take two minutes.
    ///
    /// # Errors
    /// When the server is away or refuses.
    pub async fn connect(&self) -> Result<Connection, SourceError> {
        self.connect_for(Duration::from_secs(120)).await
    }

    /// The same for statements that may take `longest`.
    ///
    /// # Errors
    /// As [`Source::connect`].
    pub async fn connect_for(&self, longest: Duration) -> Result<Connection, SourceError> {
        let mut config = Config::new();
        config.host(&self.host);
        config.port(self.port);
        config.database(&self.database);
        config.authentication(AuthMethod::sql_server(&self.user, &self.password));
        config.encryption(EncryptionLevel::Off);
        config.trust_cert();
        config.application_name("lockstep-testkit");
        config.command_timeout(Some(longest));
        let tcp =
            TcpStream::connect(config.get_addr()).await.map_err(tiberius::error::Error::from)?;
        tcp.set_nodelay(true).map_err(tiberius::error::Error::from)?;
        Ok(Connection { client: Client::connect(config, tcp.compat_write()).await? })
    }
}

/// What a statement failed with.
#[derive(Debug, thiserror::Error)]
#[error("SQL Server: {0}")]
pub struct SourceError(#[from] tiberius::error::Error);

impl SourceError {
    /// SQL Server's message number, when the server said it.
    pub fn number(&self) -> Option<u32> {
        self.0.code()
    }

    /// Whether the server chose this transaction as a deadlock's victim and rolled it back.
    pub fn is_deadlock(&self) -> bool {
        self.0.is_deadlock()
    }

    /// Whether the connection is lost, so that the outcome of an open commit is unknown.
    pub fn is_disconnect(&self) -> bool {
        self.number().is_none()
    }
}

/// One connection. After an error that is not the server's, drop it.
#[derive(Debug)]
pub struct Connection {
    client: Client<Compat<TcpStream>>,
}

impl Connection {
    /// The driver's own client, for reads that must not be collected.
    pub fn client(&mut self) -> &mut Client<Compat<TcpStream>> {
        &mut self.client
    }

    /// Runs a batch and returns its result sets.
    ///
    /// # Errors
    /// The first error of the batch.
    pub async fn results(&mut self, sql: &str) -> Result<Vec<Vec<Row>>, SourceError> {
        Ok(self.client.simple_query(sql).await?.into_results().await?)
    }

    /// Runs a batch and returns the rows of its first result set.
    ///
    /// # Errors
    /// The first error of the batch.
    pub async fn rows(&mut self, sql: &str) -> Result<Vec<Row>, SourceError> {
        Ok(self.results(sql).await?.into_iter().next().unwrap_or_default())
    }

    /// Runs a batch whose results do not matter.
    ///
    /// # Errors
    /// The first error of the batch.
    pub async fn run(&mut self, sql: &str) -> Result<(), SourceError> {
        self.results(sql).await.map(drop)
    }

    /// Reads a query's rows one by one, looks at none, and returns how many there were.
    ///
    /// # Errors
    /// The query's error.
    pub async fn drain(&mut self, sql: &str) -> Result<u64, SourceError> {
        let mut rows = self.client.simple_query(sql).await?.into_row_stream();
        let mut count = 0;
        while rows.try_next().await?.is_some() {
            count += 1;
        }
        Ok(count)
    }

    /// Hands over a query's rows one by one.
    ///
    /// # Errors
    /// The query's error, or what `take` says.
    pub async fn each(
        &mut self,
        sql: &str,
        mut take: impl FnMut(&Row) -> Result<()>,
    ) -> Result<()> {
        let stream = self.client.simple_query(sql).await.map_err(SourceError)?;
        let mut rows = stream.into_row_stream();
        while let Some(row) = rows.try_next().await.map_err(SourceError)? {
            take(&row)?;
        }
        Ok(())
    }

    /// Runs one statement through `sp_executesql` and returns how many rows it changed.
    ///
    /// # Errors
    /// The statement's error.
    pub async fn execute(&mut self, sql: &str) -> Result<u64, SourceError> {
        Ok(self.client.execute(sql, &[]).await?.total())
    }

    /// The first column of the first row, an integer of any width.
    ///
    /// # Errors
    /// The statement's error, or that there is no integer.
    pub async fn integer(&mut self, sql: &str) -> Result<Option<i64>> {
        match self.rows(sql).await?.first() {
            None => Ok(None),
            Some(row) => integer(row, 0),
        }
    }
}

/// An integer column of any width; none for NULL.
///
/// # Errors
/// When the column is not an integer.
pub fn integer(row: &Row, column: usize) -> Result<Option<i64>> {
    use tiberius::ColumnData::{I16, I32, I64, U8};
    Ok(match row.get_column_data(column)? {
        U8(v) => v.map(i64::from),
        I16(v) => v.map(i64::from),
        I32(v) => v.map(i64::from),
        I64(v) => *v,
        other => bail!("{other:?} is not an integer"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_bad_ones_never_repeated() {
        let bad = Source::parse("mssql://sa:secret@db.example:port/shop");
        assert!(bad.is_err_and(|e| !e.to_string().contains("secret")));
        let source = Source::parse("mssql://sa:p@ss:word@db.example:14330/shop").unwrap();
        assert_eq!((source.host.as_str(), source.port), ("db.example", 14330));
        assert_eq!((source.password.as_str(), source.database.as_str()), ("p@ss:word", "shop"));
        assert_eq!(Source::parse("mssql://u:p@h/d").unwrap().port, 1433);
        assert!(Source::parse("postgres://u:p@h/d").is_err());
        assert!(Source::parse("mssql://u:p@h:1/").is_err());
    }
}
