//! What a target must have before apply can run on it, each with its fix. Changes nothing.

use lockstep_common::Failure;
use lockstep_common::config::TriggerPolicy;
use lockstep_common::service::check::CheckResult;
use lockstep_common::service::status::HeldTable;
use tokio_postgres::Client;

use super::hazards::Hazards;
use super::{Target, catalog, settings, trust};

/// `server_version_num` of the oldest PostgreSQL whose settings apply relies on.
const OLDEST: i32 = 130_000;

impl Target {
    /// Every prerequisite of this target, failures and passes.
    pub(super) async fn prerequisites(&self, pipeline: &str) -> Vec<CheckResult> {
        let mut results = Vec::new();
        let client = match self.login.cold().await {
            Ok(client) => client,
            Err(failure) => return vec![refused("connection", &failure)],
        };
        results.push(CheckResult::pass("connection", self.login.place()));
        results.extend(server(&client).await);
        results.push(role(&client).await);
        results.extend(schema(&client, pipeline).await);
        if self.loads {
            results.extend(held_tables(&client, pipeline).await);
        }
        match self.check_typing(&client).await {
            Ok(found) => results.extend(found),
            Err(error) => results.push(unreadable("types", &error)),
        }
        let (stream, replica) = self.check_stream().await;
        results.push(stream);
        results.extend(tables(&client, pipeline, replica, self.triggers).await);
        results
    }

    /// The second connection, and the right to keep triggers from firing.
    async fn check_stream(&self) -> (CheckResult, bool) {
        let name = "triggers and foreign keys";
        let mut socket = match self.login.hot().await {
            Ok(socket) => socket,
            Err(failure) => return (refused("stream connection", &failure), false),
        };
        let replica = settings::enter_replica_role(&mut socket, &self.login).await;
        let result = match &replica {
            Ok(true) => CheckResult::pass(name, "do not fire for what apply writes"),
            Ok(false) => CheckResult::warn(
                name,
                "fire for what apply writes",
                "GRANT SET ON PARAMETER session_replication_role TO the role (PostgreSQL 15), or \
                 ALTER ROLE … SET session_replication_role = 'replica' (`lockstep schema --grants`)",
            ),
            Err(failure) => refused(name, failure),
        };
        (result, replica.is_ok_and(|replica| replica))
    }
}

/// Target tables that the pipeline has, and what of them may lose or alter rows; nothing is said where
/// nothing may.
async fn tables(
    client: &Client,
    pipeline: &str,
    replica: bool,
    policy: TriggerPolicy,
) -> Vec<CheckResult> {
    let name = "target tables";
    let found = match catalog::has_claims(client).await {
        Ok(true) => catalog::hazards_of(client, pipeline).await,
        Ok(false) => return Vec::new(),
        Err(error) => Err(error),
    };
    match found {
        Ok(found) => found
            .iter()
            .flat_map(|(table, hazards)| hazard_results(table, hazards, replica, policy))
            .collect(),
        Err(error) => vec![unreadable(name, &error)],
    }
}

/// What of a target table may lose or alter rows, for a session that is a replica's or not.
pub(super) fn hazard_results(
    table: &str,
    hazards: &Hazards,
    replica: bool,
    policy: TriggerPolicy,
) -> Vec<CheckResult> {
    let name = format!("target table {table}");
    let fix = "do what is said of it (DROP RULE, or ALTER TABLE … DISABLE RULE, DISABLE TRIGGER); \
        `triggers = \"allow\"` lets triggers fire that are meant to";
    let wrong = hazards.refused(replica, policy);
    let wrong = wrong.into_iter().map(|what| CheckResult::fail(&name, what, fix));
    let allowed = (policy == TriggerPolicy::Allow).then(|| hazards.notice(replica)).flatten();
    let fix = "ALTER TABLE … DISABLE TRIGGER, unless what it does to the rows is wanted";
    let firing = allowed.map(|what| CheckResult::warn(&name, what, fix));
    wrong.chain(firing).collect()
}

fn refused(name: &str, failure: &Failure) -> CheckResult {
    let fix = match failure.remedy.as_str() {
        "" => "start the server, or correct `host` and `port` of this apply",
        remedy => remedy,
    };
    CheckResult::fail(name, failure.message.clone(), fix)
}

/// What the role may beyond what it needs.
async fn role(client: &Client) -> CheckResult {
    let superuser = "SELECT rolsuper FROM pg_roles WHERE rolname = current_user";
    match client.query_one(superuser, &[]).await.map(|row| row.get::<_, bool>(0)) {
        Ok(false) => CheckResult::pass("role", "is an ordinary one"),
        Ok(true) => CheckResult::warn(
            "role",
            "is a superuser: triggers, defaults, checks and functions of indexes of the tables that \
             it writes run with all its rights, whoever made them",
            "let apply use an ordinary role: `lockstep schema --grants` prints what that needs",
        ),
        Err(error) => unreadable("role", &error),
    }
}

/// The server: version, encoding, writable.
async fn server(client: &Client) -> Vec<CheckResult> {
    let row = client
        .query_one(
            "SELECT current_setting('server_version_num')::int, current_setting('server_version'), \
             pg_is_in_recovery(), current_setting('server_encoding')",
            &[],
        )
        .await;
    let row = match row {
        Ok(row) => row,
        Err(error) => return vec![unreadable("server", &error)],
    };
    let version: String = row.get(1);
    let encoding: String = row.get(3);
    vec![
        if row.get::<_, i32>(0) >= OLDEST {
            CheckResult::pass("server version", version)
        } else {
            CheckResult::fail("server version", version, "use PostgreSQL 13 or newer")
        },
        if row.get(2) {
            CheckResult::fail("server", "is a standby", "let `host` name the primary")
        } else {
            CheckResult::pass("server", "accepts writes")
        },
        if encoding == "UTF8" {
            CheckResult::pass("encoding", encoding)
        } else {
            CheckResult::fail(
                "encoding",
                encoding,
                "create the database with ENCODING 'UTF8': another one cannot hold all texts",
            )
        },
    ]
}

/// The `lockstep` schema, or the right to make it.
async fn schema(client: &Client, pipeline: &str) -> Vec<CheckResult> {
    match trust::wrong(client).await {
        Ok(wrong) if wrong.is_empty() => {}
        Ok(wrong) => {
            let name = "schema lockstep";
            let of = |what| CheckResult::fail(name, what, trust::FIX);
            return wrong.into_iter().map(of).collect();
        }
        Err(error) => return vec![unreadable("schema lockstep", &error)],
    }
    let row = client
        .query_one(
            "SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                 WHERE n.nspname = 'lockstep' AND c.relname = 'checkpoint'), \
             has_database_privilege(current_database(), 'CREATE') OR EXISTS (SELECT FROM \
                 pg_namespace WHERE nspname = 'lockstep' AND has_schema_privilege(oid, 'CREATE'))",
            &[],
        )
        .await;
    let (exists, may_create): (bool, bool) = match row {
        Ok(row) => (row.get(0), row.get(1)),
        Err(error) => return vec![unreadable("schema lockstep", &error)],
    };
    if !exists {
        return vec![if may_create {
            CheckResult::pass("schema lockstep", "will be created")
        } else {
            CheckResult::fail(
                "schema lockstep",
                "does not exist and the role may not create it",
                "GRANT CREATE ON DATABASE to the role, or make the schema and grant it CREATE there",
            )
        }];
    }
    let mut results = vec![rights(client).await, checkpoint(client, pipeline).await];
    results.extend(loads(client).await);
    results
}

async fn rights(client: &Client) -> CheckResult {
    let name = "schema lockstep";
    let row = client
        .query_one(
            "SELECT array_agg(c.relname || ': ' || r) \
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, \
             unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS r \
             WHERE n.nspname = 'lockstep' AND c.relkind = 'r' \
             AND (r <> 'DELETE' OR c.relname LIKE 'load%') \
             AND NOT (has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, r))",
            &[],
        )
        .await;
    match row.map(|row| row.get::<_, Option<Vec<String>>>(0)) {
        Ok(None) => CheckResult::pass(name, "can be written"),
        Ok(Some(missing)) => CheckResult::fail(
            name,
            format!("the role lacks {}", missing.join(", ")),
            "grant the role USAGE on the schema, SELECT, INSERT, UPDATE on its tables, and DELETE \
             on those of loads",
        ),
        Err(error) => unreadable(name, &error),
    }
}

/// What a full load makes beside the target's tables; nothing is said where it may.
async fn loads(client: &Client) -> Option<CheckResult> {
    let name = "full loads";
    let row = client
        .query_one(
            "SELECT has_schema_privilege('lockstep', 'CREATE') \
             AND has_database_privilege(current_database(), 'TEMP')",
            &[],
        )
        .await;
    match row.map(|row| row.get::<_, bool>(0)) {
        Ok(true) => None,
        Ok(false) => Some(CheckResult::warn(
            name,
            "the role may not make tables in schema lockstep, or temporary ones",
            "GRANT CREATE ON SCHEMA lockstep and TEMP ON DATABASE to the role before a full load",
        )),
        Err(error) => Some(unreadable(name, &error)),
    }
}

async fn checkpoint(client: &Client, pipeline: &str) -> CheckResult {
    let name = "checkpoint";
    let row = client
        .query_opt(
            "SELECT position, apply FROM lockstep.checkpoint WHERE pipeline = $1",
            &[&pipeline],
        )
        .await;
    let position = row.map(|row| row.and_then(|row| row.get::<_, Option<String>>(0)));
    match position {
        Ok(Some(position)) => CheckResult::pass(name, format!("goes on after {position}")),
        Ok(None) => CheckResult::pass(name, "none: `start` decides"),
        Err(error) => unreadable(name, &error),
    }
}

/// Tables whose changes are passed over; none where nothing was ever written down of any.
async fn held_tables(client: &Client, pipeline: &str) -> Vec<CheckResult> {
    let held = super::held::list(client, pipeline).await.unwrap_or_default();
    let warn = |table: &HeldTable| {
        CheckResult::warn(
            &table.table,
            format!("it is held, its changes are passed over: {}", table.reason),
            format!("while the pipeline runs: {}", table.command),
        )
    };
    held.iter().map(warn).collect()
}

fn unreadable(name: &str, error: &tokio_postgres::Error) -> CheckResult {
    CheckResult::fail(name, super::error::chain(error), "see that the role may read the catalogue")
}
