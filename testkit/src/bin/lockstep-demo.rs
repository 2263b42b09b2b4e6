//! `lockstep-demo`: see [`lockstep_testkit::demo`].

use std::process::ExitCode;

use lockstep_testkit::demo::{self, Options};

#[tokio::main]
async fn main() -> ExitCode {
    match demo::run(Options::from_command_line()).await {
        Ok(verdict) => {
            println!("\n{verdict}");
            if verdict.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
