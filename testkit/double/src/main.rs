//! The SQL Server double as a program.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, ValueEnum};
use mssql_double::product::Release;
use mssql_double::tds::Encryption;
use mssql_double::{Config, Double};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Environment variable with the password of `sa`, as SQL Server's own image has it. There is no
/// flag for it: arguments are for all to see.
const PASSWORD_VARIABLE: &str = "MSSQL_SA_PASSWORD";

/// A SQL Server double: T-SQL and change data capture over TDS 7.4.
///
/// The password of `sa` is taken from MSSQL_SA_PASSWORD.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Where to listen; port 0 picks a free one.
    #[arg(long, default_value = "127.0.0.1:1433")]
    listen: SocketAddr,
    #[command(flatten)]
    storage: Storage,
    /// What to say about encryption.
    #[arg(long, value_enum, default_value = "supported")]
    encryption: EncryptionArgument,
    /// Which SQL Server to be.
    #[arg(long, value_enum, default_value = "2022")]
    release: ReleaseArgument,
}

#[derive(Clone, Copy, ValueEnum)]
enum ReleaseArgument {
    #[value(name = "2022")]
    V2022,
    #[value(name = "2025")]
    V2025,
}

impl From<ReleaseArgument> for Release {
    fn from(argument: ReleaseArgument) -> Self {
        match argument {
            ReleaseArgument::V2022 => Release::V2022,
            ReleaseArgument::V2025 => Release::V2025,
        }
    }
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct Storage {
    /// Folder that keeps the databases.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Keep the databases in memory only.
    #[arg(long)]
    memory: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum EncryptionArgument {
    NotSupported,
    Supported,
    Required,
}

impl From<EncryptionArgument> for Encryption {
    fn from(argument: EncryptionArgument) -> Self {
        match argument {
            EncryptionArgument::NotSupported => Encryption::NotSupported,
            EncryptionArgument::Supported => Encryption::Supported,
            EncryptionArgument::Required => Encryption::Required,
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mssql-double: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let sa_password = std::env::var(PASSWORD_VARIABLE)
        .with_context(|| format!("{PASSWORD_VARIABLE}: the password of sa is to be set there"))?;
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    let double = Double::start(Config {
        listen: arguments.listen,
        data: arguments.storage.data,
        sa_password,
        encryption: arguments.encryption.into(),
        release: arguments.release.into(),
    })
    .await?;
    announce(double.addr()).context("standard output")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    double.stop().await;
    Ok(())
}

/// Tells on standard output that connections are accepted, and where.
fn announce(address: SocketAddr) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "mssql-double listening on {address}")?;
    out.flush()
}
