//! Statements without parameters, over either kind of connection.

use super::connect::Login;
use super::error::{self, ServerError};
use super::socket::{self, Socket};
use lockstep_common::Code;
use lockstep_common::Failure;
use tokio_postgres::{Client, SimpleQueryMessage};

/// A row's values as text.
pub(super) type TextRow = Vec<Option<String>>;

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum AskError {
    Server(ServerError),
    Lost(String),
}

impl AskError {
    pub(super) fn into_failure(self, login: &Login) -> Failure {
        match self {
            AskError::Server(error) => {
                error::server_failure(Code::ApplyConnect, &login.refused(), &error)
            }
            AskError::Lost(what) => {
                Failure::new(Code::ApplyTargetAway, format!("{}: {what}", login.unreachable()))
            }
        }
    }
}

/// A connection that can be asked.
pub(super) trait Ask {
    /// Runs statements; gives the rows of all of them.
    async fn ask(&mut self, sql: &str) -> Result<Vec<TextRow>, AskError>;
}

impl Ask for Socket {
    async fn ask(&mut self, sql: &str) -> Result<Vec<TextRow>, AskError> {
        match socket::simple_query(self, sql).await {
            Ok(Ok(rows)) => Ok(rows),
            Ok(Err(error)) => Err(AskError::Server(error)),
            Err(error) => Err(AskError::Lost(error.to_string())),
        }
    }
}

impl Ask for Client {
    async fn ask(&mut self, sql: &str) -> Result<Vec<TextRow>, AskError> {
        let messages = self.simple_query(sql).await.map_err(|e| match e.as_db_error() {
            Some(db) => AskError::Server(ServerError::from_client(db)),
            None => AskError::Lost(error::chain(&e)),
        })?;
        let row = |message: &SimpleQueryMessage| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|i| row.get(i).map(str::to_owned)).collect())
            }
            _ => None,
        };
        Ok(messages.iter().filter_map(row).collect())
    }
}
