//! The source: transactions of twenty inserts each, with rows that cannot be compressed well.

use anyhow::{Context, Result};

use crate::source::{Connection, Source};

/// Changes of a transaction.
pub(super) const PARTS: u64 = 20;
/// Transactions of one batch, and of one scan.
const BATCH: u64 = 500;

/// The one session that writes.
pub(super) struct Feed {
    source: Source,
    connection: Connection,
    written: u64,
}

impl Feed {
    /// Makes the database and its captured table.
    pub(super) async fn install(source: &Source) -> Result<Self> {
        let master = source.with_database("master");
        master.connect().await?.run(&format!("CREATE DATABASE {}", source.database)).await?;
        let mut connection = source.connect().await?;
        let parts: Vec<String> = (0..PARTS).map(|part| format!("({part})")).collect();
        for statement in [
            "CREATE TABLE dbo.entry (id bigint NOT NULL PRIMARY KEY, n bigint NOT NULL, \
             part int NOT NULL, payload nvarchar(200) NOT NULL)",
            "CREATE TABLE dbo.part (part int NOT NULL PRIMARY KEY)",
            &format!("INSERT dbo.part VALUES {}", parts.join(", ")),
            "EXEC sys.sp_cdc_enable_db",
            "EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'entry', \
             @role_name = NULL, @supports_net_changes = 0",
            "EXEC sys.sp_cdc_stop_job @job_type = N'capture'",
        ] {
            connection.run(statement).await.with_context(|| statement.to_owned())?;
        }
        Ok(Feed { source: source.clone(), connection, written: 0 })
    }

    /// Its database.
    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    /// Transactions written so far: their numbers are 1 to this.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// So many transactions more, all of them in the change table when it returns.
    pub(super) async fn write(&mut self, transactions: u64) -> Result<()> {
        let last = self.written + transactions;
        while self.written < last {
            let until = last.min(self.written + BATCH);
            // Each INSERT is a transaction. The ids go on without a hole.
            let id = "CONVERT(nvarchar(36), NEWID())";
            let batch = format!(
                "SET NOCOUNT ON; DECLARE @n bigint = {}; WHILE @n <= {until} BEGIN \
                 INSERT dbo.entry SELECT (@n - 1) * {PARTS} + part, @n, part, \
                 {id} + {id} + {id} + {id} + {id} FROM dbo.part; SET @n += 1 END",
                self.written + 1
            );
            self.connection.run(&batch).await.context("write transactions")?;
            let scan = "EXEC sys.sp_cdc_scan @maxtrans = 1000000, @maxscans = 100";
            self.connection.run(scan).await.context("scan the log")?;
            self.written = until;
        }
        Ok(())
    }

    /// The payload of a row.
    pub(super) async fn payload(source: &mut Connection, id: u64) -> Result<String> {
        let question = format!("SELECT payload FROM dbo.entry WHERE id = {id}");
        let rows = source.rows(&question).await?;
        let row = rows.first().with_context(|| format!("row {id}"))?;
        Ok(row.try_get::<&str, _>(0)?.context("a payload")?.to_owned())
    }
}
