//! What `lockstep check` asks of a target. Reads only.

use lockstep_common::Failure;
use lockstep_common::check::CheckResult;
use tokio_postgres::Client;

use super::Target;

/// Whether this role may do what apply does here.
const RIGHTS: &str = "SELECT pg_catalog.current_setting('server_version'), \
    pg_catalog.current_setting('server_encoding'), \
    pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE'), \
    pg_catalog.to_regclass('lockstep.checkpoint') IS NOT NULL, \
    (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user)";

impl Target {
    /// Examines every prerequisite and reports all of them.
    pub(crate) async fn check(&self, pipeline: &str) -> Vec<CheckResult> {
        let client = match self.login.cold().await {
            Ok(client) => client,
            Err(failure) => {
                let fix = if failure.remedy.is_empty() {
                    "start the server, or correct host and port".to_owned()
                } else {
                    failure.remedy.clone()
                };
                return vec![CheckResult::fail("login", described(&failure), fix)];
            }
        };
        let mut results = vec![CheckResult::pass("login", "accepted")];
        if let Err(error) = self.examine(&client, pipeline, &mut results).await {
            let fix = "see the server's log";
            results.push(CheckResult::fail("questions to the server", error.to_string(), fix));
        }
        results
    }

    async fn examine(
        &self,
        client: &Client,
        pipeline: &str,
        results: &mut Vec<CheckResult>,
    ) -> Result<(), tokio_postgres::Error> {
        let row = client.query_one(RIGHTS, &[]).await?;
        let (version, encoding): (&str, &str) = (row.get(0), row.get(1));
        results.push(CheckResult::pass("server", format!("PostgreSQL {version}")));
        results.push(match encoding {
            "UTF8" => CheckResult::pass("encoding", "UTF8"),
            other => CheckResult::fail(
                "encoding",
                format!("the database's encoding is {other}"),
                "use a database with ENCODING 'UTF8': no other can hold every text of the source",
            ),
        });
        let (may_create, installed): (bool, bool) = (row.get(2), row.get(3));
        results.push(if may_create || installed {
            let detail = if installed { "present" } else { "apply will make it" };
            CheckResult::pass("schema lockstep", detail)
        } else {
            CheckResult::fail(
                "schema lockstep",
                "it is missing and this role may not create schemas",
                "GRANT CREATE ON DATABASE to the role",
            )
        });
        let superuser: bool = row.get(4);
        results.push(if superuser || may_set_replication_role(client).await? {
            CheckResult::pass("session_replication_role", "may be set: triggers stay silent")
        } else {
            CheckResult::warn(
                "session_replication_role",
                "this role may not set it: the target's triggers and foreign keys fire",
                "PostgreSQL 15: GRANT SET ON PARAMETER session_replication_role TO the role",
            )
        });
        if installed {
            results.push(checkpoint(client, pipeline).await?);
        }
        Ok(())
    }
}

/// `has_parameter_privilege` came with PostgreSQL 15; before, only a superuser may.
async fn may_set_replication_role(client: &Client) -> Result<bool, tokio_postgres::Error> {
    let known = "SELECT pg_catalog.to_regprocedure(\
                 'pg_catalog.has_parameter_privilege(text,text)') IS NOT NULL";
    if !client.query_one(known, &[]).await?.get::<_, bool>(0) {
        return Ok(false);
    }
    let asked = "SELECT pg_catalog.has_parameter_privilege('session_replication_role', 'SET')";
    Ok(client.query_one(asked, &[]).await?.get(0))
}

async fn checkpoint(client: &Client, pipeline: &str) -> Result<CheckResult, tokio_postgres::Error> {
    let asked = "SELECT position::text FROM lockstep.checkpoint WHERE pipeline = $1";
    let row = client.query_opt(asked, &[&pipeline]).await?;
    let position = row.and_then(|row| row.get::<_, Option<String>>(0));
    Ok(CheckResult::pass(
        "checkpoint",
        match position {
            Some(position) => format!("at {position}: apply goes on from there"),
            None => "none: apply begins at its configured start".to_owned(),
        },
    ))
}

fn described(failure: &Failure) -> String {
    match &failure.source {
        Some(source) => format!("{}: {source}", failure.message),
        None => failure.message.clone(),
    }
}
