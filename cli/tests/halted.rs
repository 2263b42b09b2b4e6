//! A program that has halted, asked over its endpoints.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

/// An apply that halts at once: nothing is asked of a target before its start is read.
fn configuration(directory: &std::path::Path, http: SocketAddr, stay: bool) -> String {
    let at = directory.display();
    format!(
        "[pipeline]\nname = \"p\"\n[log]\nkind = \"embedded\"\npath = \"{at}/log\"\n\
         [http]\nstay_after_halt = {stay}\n\
         [apply.main]\nhost = \"127.0.0.1\"\nport = 1\ndatabase = \"d\"\nuser = \"u\"\ntls = \"disable\"\n\
         spool = \"{at}/spool\"\nstart = \"nonsense\"\nhttp = \"{http}\"\n"
    )
}

fn start(directory: &std::path::Path, http: SocketAddr, stay: bool) -> Child {
    let file = directory.join("lockstep.toml");
    std::fs::write(&file, configuration(directory, http, stay)).unwrap();
    Command::new(env!("CARGO_BIN_EXE_lockstep"))
        .args(["run", "-c"])
        .arg(file)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn the_endpoints_answer_after_a_halt_until_the_signal() {
    let directory = tempfile::tempdir().unwrap();
    let address = free_address();
    let mut program = start(directory.path(), address, true);
    let mut lines = BufReader::new(program.stderr.take().unwrap()).lines();
    let said = lines.find(|line| line.as_ref().unwrap().contains("answer until SIGTERM"));
    assert!(said.is_some(), "it ended without staying");
    let ready = get(address, "/readyz");
    assert!(ready.starts_with("HTTP/1.1 503"), "{ready}");
    assert!(ready.contains("main: halted: [apply.start]"), "{ready}");
    let metrics = get(address, "/metrics");
    assert!(metrics.contains("lockstep_apply_state{apply=\"main\",state=\"halted\"} 1.0"));

    let killed = Command::new("kill").arg(program.id().to_string()).status().unwrap();
    assert!(killed.success());
    assert_eq!(program.wait().unwrap().code(), Some(3));
}

#[test]
fn without_the_option_it_ends_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let program = start(directory.path(), free_address(), false);
    let output = program.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("error: [apply.start]"), "{said}");
}
