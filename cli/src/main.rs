//! `lockstep`: the whole pipeline in one process, and the tools around it.

mod arguments;
mod check;
mod files;
mod load_view;
mod log_view;
mod progress;
mod reload;
mod render;
mod run;
mod schema_view;
mod sharing;
mod status_view;

use std::process::ExitCode;

use clap::Parser;
use lockstep_common::service::{self, Ending};
use lockstep_common::{Shutdown, config, service::telemetry};

use arguments::{Arguments, Command};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    telemetry::init("lockstep", arguments.log_format);
    service::run(|shutdown| dispatch(arguments, shutdown))
}

async fn dispatch(arguments: Arguments, shutdown: Shutdown) -> Result<(), Ending> {
    let config = config::load(&arguments.config)?;
    match arguments.command {
        Command::Run(options) => run::run(config, options, shutdown).await,
        Command::Check => check::check(&arguments.config, &config).await,
        Command::Log(options) => log_view::print(&config, options, shutdown).await,
        Command::Status(options) => status_view::print(&config, options).await,
        Command::Schema(options) => schema_view::print(&config, &options).await,
        Command::Reload(options) => reload::reload(&config, &options).await,
    }
}
