//! A double and clients for it.

use mssql_double::{Config, Double};
use tiberius::{AuthMethod, Client, ColumnData, EncryptionLevel, ToSql};
use tokio::net::TcpStream;
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt};

pub const PASSWORD: &str = "Correct-Horse-1";

pub type TestClient = Client<Compat<TcpStream>>;

/// A double in memory.
pub async fn start() -> Double {
    Double::start(Config::in_memory(PASSWORD)).await.expect("starts")
}

/// How `sa` logs in.
pub fn login() -> tiberius::Config {
    let mut config = tiberius::Config::new();
    config.authentication(AuthMethod::sql_server("sa", PASSWORD));
    config.encryption(EncryptionLevel::NotSupported);
    config.trust_cert();
    config
}

pub async fn connect_with(
    address: std::net::SocketAddr,
    config: tiberius::Config,
) -> tiberius::Result<TestClient> {
    let tcp = TcpStream::connect(address).await?;
    Client::connect(config, tcp.compat_write()).await
}

pub async fn connect(double: &Double) -> TestClient {
    connect_with(double.addr(), login()).await.expect("logs in")
}

/// The number of a server error.
pub fn number_of(error: &tiberius::error::Error) -> u32 {
    error.code().unwrap_or_else(|| panic!("not a server error: {error}"))
}

/// Runs a batch for its effect.
pub async fn run(client: &mut TestClient, sql: &str) -> tiberius::Result<()> {
    client.simple_query(sql).await?.into_results().await?;
    Ok(())
}

/// The rows of a statement with parameters.
pub async fn rows(
    client: &mut TestClient,
    sql: &str,
    params: &[&dyn ToSql],
) -> tiberius::Result<Vec<Vec<ColumnData<'static>>>> {
    let rows = client.query(sql, params).await?.into_first_result().await?;
    Ok(rows.iter().map(|row| row.cells().map(|(_, cell)| cell.clone()).collect()).collect())
}
