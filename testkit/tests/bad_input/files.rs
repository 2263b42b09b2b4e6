//! Directories of log and spool: closed to others, read beside the program that has them, and never
//! somebody else's.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use lockstep_common::config;
use lockstep_common::failure::exit;
use lockstep_servers::{Program, beside_current_exe};
use lockstep_testkit::harness::Pipeline;

use super::{WITHIN, ends, pipeline, program};

fn log_path(pipeline: &Pipeline) -> PathBuf {
    match pipeline.log_config() {
        config::Log::Embedded(log) => log.path.clone(),
        config::Log::Kafka(_) => panic!("the pipeline is over the embedded log"),
    }
}

/// Every file and directory at and below `path`, with its mode.
fn modes(path: &Path) -> Vec<(PathBuf, u32)> {
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let mut all = vec![(path.to_owned(), mode(path))];
    for entry in std::fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(modes(&path));
        } else {
            all.push((path.clone(), mode(&path)));
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_pipelines_files_are_its_users_alone_and_its_log_can_be_read() {
    let pipeline = pipeline().await.unwrap();
    let spool = pipeline.config_path().with_file_name("a spool");
    let line = format!("spool = {spool:?}\n");
    let own_spool = |text: String| {
        let kept = text.lines().filter(|line| !line.starts_with("spool ="));
        let kept: Vec<&str> = kept.collect();
        kept.join("\n").replace("[apply.target]\n", &format!("[apply.target]\n{line}"))
    };
    let check = program(&pipeline, "lockstep", own_spool).unwrap().arg("check");
    ends(&check, exit::OK, &["will be made"]).unwrap();
    assert!(!spool.exists() && !log_path(&pipeline).exists(), "a check makes nothing");

    let config = pipeline.write_config().unwrap();
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, own_spool(text)).unwrap();
    let run = Program::new("/bin/sh")
        .arg("-c")
        .arg("umask 000; exec \"$0\" --config \"$1\" run")
        .arg(beside_current_exe("lockstep").unwrap())
        .arg(&config)
        .env("LOCKSTEP_SOURCE__PASSWORD", pipeline.source().password.clone())
        .env("LOCKSTEP_APPLY__TARGET__PASSWORD", pipeline.target_password("target").unwrap());
    let mut process = run.start().unwrap();
    process.wait_for_line(|line| line.contains("writing to the target"), WITHIN).unwrap();
    for path in [&spool, &log_path(&pipeline)] {
        for (path, mode) in modes(path) {
            assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", path.display());
        }
    }
    let beside = |arg: &str| {
        Program::new(beside_current_exe("lockstep").unwrap())
            .arg("--config")
            .arg(&config)
            .arg(arg)
            .env("LOCKSTEP_SOURCE__PASSWORD", pipeline.source().password.clone())
            .env("LOCKSTEP_APPLY__TARGET__PASSWORD", pipeline.target_password("target").unwrap())
    };
    ends(&beside("log"), exit::OK, &["epoch 1 on"]).unwrap();
    ends(&beside("check"), exit::OK, &["ok   log: embedded log"]).unwrap();
    process.terminate().unwrap();
    assert_eq!(process.wait(WITHIN).unwrap().code(), Some(i32::from(exit::OK)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_is_not_taken_for_a_spool() {
    let pipeline = super::filled(pipeline().await.unwrap(), 3, 10).await.unwrap();
    let log = log_path(&pipeline);
    let other = pipeline.config_path().with_file_name("other log");
    let swapped = |text: String| {
        let kept = text.lines().filter(|line| !line.starts_with("spool ="));
        let text = kept.collect::<Vec<_>>().join("\n");
        let text = text.replace(&format!("path = {log:?}"), &format!("path = {other:?}"));
        text.replace("[apply.target]\n", &format!("[apply.target]\nspool = {log:?}\n"))
    };
    let before = modes(&log).len();
    let run = program(&pipeline, "lockstep-apply", swapped).unwrap().arg("--name").arg("target");
    ends(&run, exit::HALT, &["is no spool"]).unwrap();
    assert_eq!(modes(&log).len(), before, "something was changed");
    // And it is still a log.
    let print = program(&pipeline, "lockstep", |text| text).unwrap().arg("log");
    ends(&print, exit::OK, &["dbo.rows"]).unwrap();
}
