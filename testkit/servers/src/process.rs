//! A program as a child process, with its output kept.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::child::{self, OnOurDeath, User};

/// What to run: the same program can be started again after it died.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    args: Vec<OsString>,
    env: BTreeMap<OsString, OsString>,
    user: Option<User>,
    on_our_death: OnOurDeath,
}

impl Program {
    /// The program at `path`, without arguments.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Program {
            path: path.into(),
            args: Vec::new(),
            env: BTreeMap::new(),
            user: None,
            on_our_death: OnOurDeath::Kill,
        }
    }

    /// One more argument.
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// An environment variable beside those of this process.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    pub(crate) fn user(mut self, user: Option<User>) -> Self {
        self.user = user;
        self
    }

    pub(crate) fn quit_on_our_death(mut self) -> Self {
        self.on_our_death = OnOurDeath::Quit;
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&self) -> Result<Process> {
        let mut command = child::command(&self.path, self.user, self.on_our_death);
        command
            .args(&self.args)
            .envs(&self.env)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child =
            child::spawn(command).with_context(|| format!("start {}", self.path.display()))?;
        let output = Arc::new(Output::default());
        output.follow(child.stdout.take().expect("standard output is piped"));
        output.follow(child.stderr.take().expect("standard error is piped"));
        Ok(Process { program: self.clone(), child, output, status: None })
    }
}

/// A running (or ended) child process; killed when dropped.
#[derive(Debug)]
pub struct Process {
    program: Program,
    child: Child,
    output: Arc<Output>,
    status: Option<ExitStatus>,
}

impl Process {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything it wrote to standard output and standard error so far, line by line.
    pub fn output(&self) -> String {
        self.output.lock().lines.join("\n")
    }

    /// Waits for a line that `wanted` accepts, from the first line on.
    ///
    /// # Errors
    /// When the process closes its output or the time is over first; the message has its output.
    pub fn wait_for_line(&self, wanted: impl Fn(&str) -> bool, within: Duration) -> Result<String> {
        self.output
            .wait_for(wanted, Instant::now() + within, None)
            .map_err(|why| anyhow::anyhow!("{} {why}; its output:\n{}", self.name(), self.output()))
    }

    /// The same for as long as it goes on printing lines: one that tells of its progress may take what
    /// it takes.
    ///
    /// # Errors
    /// When it closes its output, or prints nothing for so long.
    pub fn wait_for_line_unless_silent(
        &self,
        wanted: impl Fn(&str) -> bool,
        silence: Duration,
    ) -> Result<String> {
        self.output
            .wait_for(wanted, Instant::now() + silence, Some(silence))
            .map_err(|why| anyhow::anyhow!("{} {why}; its output:\n{}", self.name(), self.output()))
    }

    /// How it ended, if it did.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().ok().flatten();
        }
        self.status
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When the time is over first.
    pub fn wait(&mut self, within: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.exited() {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!(
                    "{} did not end within {within:?}; its output:\n{}",
                    self.name(),
                    self.output()
                );
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Asks it to leave (SIGTERM).
    ///
    /// # Errors
    /// When it is gone already.
    pub fn terminate(&mut self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    /// Ends it as a power cut would (SIGKILL) and waits until it is gone.
    pub fn kill(&mut self) {
        if self.exited().is_none() {
            // It may end by itself between the two calls; either way it is reaped here.
            let _ = self.child.kill();
            self.status = self.child.wait().ok();
        }
    }

    /// Starts the same program again, after the old one has ended.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        *self = self.program.start()?;
        Ok(())
    }

    pub(crate) fn signal(&mut self, signal: Signal) -> Result<()> {
        // Only a child that was not reaped yet is sure to own its id.
        if self.exited().is_some() {
            bail!("{} has ended already", self.name());
        }
        kill_process(Pid::from_child(&self.child), signal)
            .with_context(|| format!("signal {}", self.name()))
    }

    fn name(&self) -> String {
        self.program.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

#[derive(Debug, Default)]
struct Output {
    state: Mutex<OutputState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct OutputState {
    lines: Vec<String>,
    closed: u8,
}

impl Output {
    fn lock(&self) -> std::sync::MutexGuard<'_, OutputState> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn follow(self: &Arc<Self>, pipe: impl Read + Send + 'static) {
        let output = Arc::clone(self);
        thread::spawn(move || {
            for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                output.lock().lines.push(line);
                output.changed.notify_all();
            }
            output.lock().closed += 1;
            output.changed.notify_all();
        });
    }

    fn wait_for(
        &self,
        wanted: impl Fn(&str) -> bool,
        mut deadline: Instant,
        silence: Option<Duration>,
    ) -> Result<String, &'static str> {
        let mut state = self.lock();
        let mut seen = 0;
        loop {
            if let Some(line) = state.lines[seen..].iter().find(|line| wanted(line)) {
                return Ok(line.clone());
            }
            if let Some(silence) = silence.filter(|_| state.lines.len() > seen) {
                deadline = Instant::now() + silence;
            }
            seen = state.lines.len();
            if state.closed == 2 {
                return Err("ended before the awaited line");
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err("did not print the awaited line in time");
            }
            (state, _) = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(|poisoned| poisoned.into_inner());
        }
    }
}

/// A program of this workspace: it lies beside the running one (a test binary lies one folder
/// deeper).
///
/// # Errors
/// When it is not there, with the command that builds it.
pub fn beside_current_exe(name: &str) -> Result<PathBuf> {
    let exe = std::env::current_exe().context("find the running program")?;
    let found =
        exe.ancestors().skip(1).take(2).map(|dir: &Path| dir.join(name)).find(|p| p.is_file());
    found.with_context(|| {
        format!("{name} is not built beside {}; run `cargo build --workspace`", exe.display())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    fn shell(script: &str) -> Program {
        Program::new("/bin/sh").arg("-c").arg(script)
    }

    #[test]
    fn lines_of_both_outputs_are_kept_and_awaited() {
        let process = shell("echo one; echo two >&2; exec sleep 60").start().unwrap();
        assert_eq!(process.wait_for_line(|l| l == "two", SOON).unwrap(), "two");
        assert_eq!(process.wait_for_line(|l| l.starts_with('o'), SOON).unwrap(), "one");
    }

    #[test]
    fn an_ended_process_is_told_from_a_slow_one() {
        let mut process = shell("echo last words; exit 3").start().unwrap();
        let error = process.wait_for_line(|l| l == "never", SOON).unwrap_err().to_string();
        assert!(error.contains("ended before") && error.contains("last words"), "{error}");
        assert_eq!(process.wait(SOON).unwrap().code(), Some(3));
        assert!(process.terminate().is_err());
    }

    #[test]
    fn who_goes_on_speaking_is_waited_for() {
        let silence = Duration::from_secs(2);
        // Together longer than the silence that is allowed.
        let script = "for i in 1 2 3 4 5; do echo $i; sleep 0.7; done; echo up; exec sleep 60";
        let process = shell(script).start().unwrap();
        process.wait_for_line_unless_silent(|l| l == "up", silence).unwrap();
        let silent = shell("echo one; exec sleep 60").start().unwrap();
        let short = Duration::from_millis(200);
        let error = silent.wait_for_line_unless_silent(|l| l == "up", short).unwrap_err();
        assert!(error.to_string().contains("in time"), "{error}");
    }

    #[test]
    fn terminate_lets_it_finish_and_kill_does_not() {
        let script = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done";
        let mut polite = shell(script).start().unwrap();
        polite.wait_for_line(|l| l == "up", SOON).unwrap();
        polite.terminate().unwrap();
        // Its end may be known before its last line is read.
        polite.wait_for_line(|l| l == "bye", SOON).unwrap();
        assert_eq!(polite.wait(SOON).unwrap().code(), Some(0));

        polite.restart().unwrap();
        polite.wait_for_line(|l| l == "up", SOON).unwrap();
        polite.kill();
        assert_eq!(polite.exited().unwrap().code(), None);
        assert!(!polite.output().contains("bye"));
    }

    #[test]
    fn a_child_made_by_a_thread_that_ended_lives_on() {
        let mut process =
            thread::spawn(|| shell("echo up; exec sleep 60").start().unwrap()).join().unwrap();
        process.wait_for_line(|l| l == "up", SOON).unwrap();
        assert!(process.exited().is_none());
    }
}
