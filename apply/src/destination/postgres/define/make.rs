//! Makes one object, from whatever an earlier attempt left of it.

use std::time::Duration;

use lockstep_common::Code;
use lockstep_common::model::name::quote_postgres;
use lockstep_common::{Failure, Shutdown};
use tokio_postgres::{Client, Error, GenericClient};
use uuid::Uuid;

use super::super::connect::Login;
use super::super::error::ServerError;
use super::super::plan::TargetName;
use super::finish::LOCK_WAIT;
use super::objects::{self, Row, State};
use super::plan::{Kind, other_index_name};

/// What came of an attempt.
pub(super) enum Outcome {
    /// Its row says what.
    Settled,
    /// Somebody holds a lock that it needs, or the finish is to stop: later.
    Locked(Row),
}

/// Why an attempt came to nothing.
enum Trouble {
    /// The target refuses the object.
    Refused(String),
    Locked,
    Error(Error),
}

/// Makes objects for one load.
pub(super) struct Maker<'a> {
    pub(super) login: &'a Login,
    pub(super) pipeline: &'a str,
    pub(super) load: Uuid,
    pub(super) stop: &'a Shutdown,
}

/// After so long a statement is cancelled once more.
const CANCEL_AGAIN: Duration = Duration::from_millis(200);

impl Maker<'_> {
    /// Makes an object and notes what came of it.
    pub(super) async fn make(&self, client: &mut Client, mut row: Row) -> Result<Outcome, Error> {
        row.state = State::Making;
        objects::write(client, self.pipeline, self.load, &row).await?;
        let made = match row.kind {
            Kind::Index | Kind::Unique => self.index(client, &mut row).await,
            Kind::Check | Kind::ForeignKey => self.constraint(client, &mut row).await,
            Kind::Default => self.default(client, &mut row).await,
            Kind::Identity => self.identity(client, &row).await,
            Kind::Computed | Kind::Other => Ok(()),
        };
        match made {
            Ok(()) => {
                row.state = State::Made;
                tracing::debug!(kind = %row.kind, object = %row.object, table = %row.source, "made");
            }
            Err(Trouble::Refused(reason)) => {
                if row.state != State::LeftOut {
                    row.state = State::Failed;
                }
                row.reason = Some(reason);
            }
            Err(Trouble::Locked) => return Ok(Outcome::Locked(row)),
            Err(Trouble::Error(error)) => return Err(error),
        }
        objects::write(client, self.pipeline, self.load, &row).await?;
        Ok(Outcome::Settled)
    }

    async fn index(&self, client: &mut Client, row: &mut Row) -> Result<(), Trouble> {
        loop {
            let Some(found) = FoundIndex::read(client, row).await? else {
                match self.long(client, &row.statements[0]).await {
                    Ok(()) => continue,
                    Err(trouble) => {
                        // What a failed build leaves would refuse rows all the same.
                        self.drop_index(client, row).await?;
                        return Err(trouble);
                    }
                }
            };
            let unique = row.statements[0].starts_with("CREATE UNIQUE");
            match found {
                FoundIndex { of_table: true, valid: false, .. } => {
                    self.drop_index(client, row).await?
                }
                FoundIndex { of_table: true, unique: is_unique, .. } if is_unique == unique => {
                    break;
                }
                _ => {
                    let other = other_index_name(&row.table.schema, &row.table.table, &row.name);
                    rename(row, other);
                    objects::write(client, self.pipeline, self.load, row).await.map_err(trouble)?;
                }
            }
        }
        let Some(constrain) = row.statements.get(1) else { return Ok(()) };
        if constraint_state(client, row).await?.is_none() {
            self.brief(client, constrain, None).await?;
        }
        Ok(())
    }

    /// Drops what a build left, if it is not valid.
    async fn drop_index(&self, client: &mut Client, row: &Row) -> Result<(), Trouble> {
        let found = FoundIndex::read(client, row).await?;
        if found.is_some_and(|found| found.of_table && !found.valid) {
            let name = TargetName { schema: row.table.schema.clone(), table: row.name.clone() };
            self.long(client, &format!("DROP INDEX CONCURRENTLY IF EXISTS {}", name.quoted()))
                .await?;
        }
        Ok(())
    }

    async fn constraint(&self, client: &mut Client, row: &mut Row) -> Result<(), Trouble> {
        let validates = row.statements.len() > 1;
        if constraint_state(client, row).await?.is_none() {
            if row.kind == Kind::Check && !validates {
                self.unchecked_rows(client, row).await?;
            }
            self.brief(client, &row.statements[0], None).await?;
        }
        if !validates || constraint_state(client, row).await? == Some(true) {
            return Ok(());
        }
        match self.long(client, &row.statements[1]).await {
            Ok(()) => Ok(()),
            Err(Trouble::Refused(reason)) => {
                // It would go on refusing the stream's rows.
                let drop = format!(
                    "ALTER TABLE {} DROP CONSTRAINT IF EXISTS {}",
                    row.table.quoted(),
                    quote_postgres(&row.name)
                );
                self.brief(client, &drop, None).await?;
                Err(Trouble::Refused(reason))
            }
            Err(other) => Err(other),
        }
    }

    /// A row that an unchecked check does not allow could never be updated again: PostgreSQL checks
    /// the whole row, SQL Server only what an update changes.
    async fn unchecked_rows(&self, client: &Client, row: &Row) -> Result<(), Trouble> {
        let condition = row.statements[0]
            .split_once(" CHECK (")
            .and_then(|(_, rest)| rest.strip_suffix(") NOT VALID"))
            .unwrap_or("true");
        let sql =
            format!("SELECT EXISTS (SELECT FROM {} WHERE NOT ({condition}))", row.table.quoted());
        if client.query_one(&sql, &[]).await.map_err(trouble)?.get(0) {
            return Err(Trouble::Refused(
                "rows from before it do not meet it (it is unchecked in the source), and PostgreSQL \
                 would refuse every update of them"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    async fn default(&self, client: &mut Client, row: &mut Row) -> Result<(), Trouble> {
        let column = ColumnState::read(client, row).await?;
        if column.has_default && !self.is_ours(client, row).await? {
            row.state = State::LeftOut;
            return Err(Trouble::Refused("the target's column has a default already".to_owned()));
        }
        let done = Row { state: State::Made, ..row.clone() };
        self.brief(client, &row.statements[0], Some(&done)).await
    }

    async fn identity(&self, client: &mut Client, row: &Row) -> Result<(), Trouble> {
        if !ColumnState::read(client, row).await?.is_identity {
            self.brief(client, &row.statements[0], None).await?;
        }
        set_sequence(client, &row.table, &row.name).await.map_err(trouble)
    }

    /// Whether the default that the column has is one that we made: it and its first row were one
    /// transaction.
    async fn is_ours(&self, client: &Client, row: &Row) -> Result<bool, Trouble> {
        let found = client
            .query_opt(
                "SELECT default_made FROM lockstep.load_object \
                 WHERE pipeline = $1 AND source = $2 AND kind = $3 AND object = $4",
                &[&self.pipeline, &row.source, &row.kind.as_str(), &row.object],
            )
            .await
            .map_err(trouble)?;
        Ok(found.is_some_and(|found| found.get(0)))
    }

    /// A statement that lets writers through and may take long. At a stop the server gives it up.
    async fn long(&self, client: &Client, sql: &str) -> Result<(), Trouble> {
        let backend: i32 =
            client.query_one("SELECT pg_backend_pid()", &[]).await.map_err(trouble)?.get(0);
        let run = client.batch_execute(sql);
        tokio::pin!(run);
        let result = tokio::select! {
            biased;
            result = &mut run => result,
            () = self.stop.cancelled() => loop {
                // Without another connection the server goes on; the lock tells the next finish.
                if self.cancel(backend).await.is_err() {
                    return Err(Trouble::Locked);
                }
                // What comes before the statement has begun cancels nothing.
                if let Ok(result) = tokio::time::timeout(CANCEL_AGAIN, &mut run).await {
                    break result;
                }
            },
        };
        match result {
            Err(error) if self.stop.is_cancelled() && code(&error) == "57014" => {
                Err(Trouble::Locked)
            }
            other => other.map_err(trouble),
        }
    }

    async fn cancel(&self, backend: i32) -> Result<(), Failure> {
        let other = self.login.cold().await?;
        let cancelled = other.execute("SELECT pg_cancel_backend($1)", &[&backend]).await;
        cancelled.map(drop).map_err(|e| {
            super::super::error::failure(Code::ApplyFinish, "cannot cancel a statement", &e)
        })
    }

    /// A statement that stops writers for a moment: it waits for its lock no longer than they may.
    /// With `done`, the object is noted in the same transaction.
    async fn brief(
        &self,
        client: &mut Client,
        sql: &str,
        done: Option<&Row>,
    ) -> Result<(), Trouble> {
        let transaction = client.transaction().await.map_err(trouble)?;
        let wait = LOCK_WAIT.as_millis();
        let sql = format!("SET LOCAL lock_timeout = '{wait}ms'; {sql}");
        transaction.batch_execute(&sql).await.map_err(trouble)?;
        if let Some(row) = done {
            objects::write(&transaction, self.pipeline, self.load, row).await.map_err(trouble)?;
            objects::own_default(&transaction, self.pipeline, row).await.map_err(trouble)?;
        }
        transaction.commit().await.map_err(trouble)
    }
}

fn code(error: &Error) -> &str {
    error.code().map_or("", |code| code.code())
}

fn trouble(error: Error) -> Trouble {
    use super::super::error::Class;
    let Some(db) = error.as_db_error() else { return Trouble::Error(error) };
    let server = ServerError::from_client(db);
    match (server.class(), server.code.as_str()) {
        // A lock, a deadlock.
        (_, "55P03" | "40P01" | "40001") => Trouble::Locked,
        // No room for it, or somebody ended it: trying for ever would do harm.
        (_, "53100" | "53200" | "53400" | "57014") => Trouble::Refused(server.to_string()),
        (Class::Retry, _) => Trouble::Error(error),
        (Class::Conflict | Class::Halt, _) => Trouble::Refused(server.to_string()),
    }
}

/// Gives an index another name in its statements, where only its name can stand.
fn rename(row: &mut Row, name: String) {
    let (old, new) = (quote_postgres(&row.name), quote_postgres(&name));
    for statement in &mut row.statements {
        for before in ["INDEX CONCURRENTLY ", "ADD CONSTRAINT ", "USING INDEX "] {
            *statement =
                statement.replacen(&format!("{before}{old}"), &format!("{before}{new}"), 1);
        }
    }
    row.name = name;
}

/// What has an index's name.
struct FoundIndex {
    /// It is an index of the object's table.
    of_table: bool,
    valid: bool,
    unique: bool,
}

impl FoundIndex {
    async fn read(client: &Client, row: &Row) -> Result<Option<Self>, Trouble> {
        let found = client
            .query_opt(
                "SELECT i.indrelid IS NOT NULL AND i.indrelid = to_regclass($3)::oid, \
                 coalesce(i.indisvalid, false), coalesce(i.indisunique, false) FROM pg_class c \
                 JOIN pg_namespace n ON n.oid = c.relnamespace \
                 LEFT JOIN pg_index i ON i.indexrelid = c.oid \
                 WHERE n.nspname = $1 AND c.relname = $2",
                &[&row.table.schema, &row.name, &row.table.quoted()],
            )
            .await
            .map_err(trouble)?;
        Ok(found.map(|found| FoundIndex {
            of_table: found.get(0),
            valid: found.get(1),
            unique: found.get(2),
        }))
    }
}

/// Whether a constraint is validated; none when it is not there.
async fn constraint_state(client: &Client, row: &Row) -> Result<Option<bool>, Trouble> {
    let found = client
        .query_opt(
            "SELECT convalidated FROM pg_constraint \
             WHERE conrelid = to_regclass($1)::oid AND conname = $2",
            &[&row.table.quoted(), &row.name],
        )
        .await
        .map_err(trouble)?;
    Ok(found.map(|found| found.get(0)))
}

struct ColumnState {
    has_default: bool,
    is_identity: bool,
}

impl ColumnState {
    async fn read(client: &Client, row: &Row) -> Result<Self, Trouble> {
        let found = client
            .query_opt(
                "SELECT atthasdef, attidentity <> '' FROM pg_attribute \
                 WHERE attrelid = to_regclass($1)::oid AND attname = $2 AND NOT attisdropped",
                &[&row.table.quoted(), &row.name],
            )
            .await
            .map_err(trouble)?;
        let found = found.ok_or_else(|| Trouble::Refused("the column is gone".to_owned()))?;
        Ok(ColumnState { has_default: found.get(0), is_identity: found.get(1) })
    }
}

/// Sets the sequence of an identity column past the farthest number that the column holds, in the
/// direction it counts; never back, and not when nothing is beyond its start.
pub(super) async fn set_sequence(
    client: &impl GenericClient,
    table: &TargetName,
    column: &str,
) -> Result<(), Error> {
    let found = client
        .query_opt(
            "SELECT s.seqrelid::regclass::text, s.seqincrement > 0 FROM pg_sequence s \
             WHERE s.seqrelid = pg_get_serial_sequence($1, $2)::regclass",
            &[&table.quoted(), &column],
        )
        .await?;
    let Some(found) = found else { return Ok(()) };
    let (sequence, up): (String, bool) = (found.get(0), found.get(1));
    let (farthest, beyond, farther) =
        if up { ("max", ">=", "greatest") } else { ("min", "<=", "least") };
    let sql = format!(
        "SELECT setval('{literal}', {farther}(m.n, CASE WHEN s.is_called THEN s.last_value END), true) \
         FROM (SELECT {farthest}({column})::bigint AS n FROM {table}) m, {sequence} s, \
         (SELECT seqstart FROM pg_sequence WHERE seqrelid = '{literal}'::regclass) d \
         WHERE m.n {beyond} d.seqstart",
        literal = sequence.replace('\'', "''"),
        column = quote_postgres(column),
        table = table.quoted(),
    );
    client.execute(&sql, &[]).await?;
    Ok(())
}
