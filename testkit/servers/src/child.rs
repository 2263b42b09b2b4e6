//! Children that die with us.
//!
//! `PR_SET_PDEATHSIG` fires when the *thread* that made the child ends, so all children are made by
//! one thread that lives as long as the process. The call itself is left to `setpriv` of
//! util-linux, which sets it last thing before it becomes the program: same process id, and no
//! `unsafe` of ours between fork and exec.

use std::io;
use std::process::{Child, Command};
use std::sync::{OnceLock, mpsc};
use std::thread;

/// A user to run a child as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// The signal the kernel sends the child when we die.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnOurDeath {
    Kill,
    /// For servers with children of their own to end.
    Quit,
}

/// A command that runs `program` as `user` and ends with us.
pub(crate) fn command(
    program: &std::path::Path,
    user: Option<User>,
    on_our_death: OnOurDeath,
) -> Command {
    let mut command = Command::new("setpriv");
    let signal = match on_our_death {
        OnOurDeath::Kill => "KILL",
        OnOurDeath::Quit => "QUIT",
    };
    command.args(["--pdeathsig", signal]);
    if let Some(User { uid, gid }) = user {
        command.args(["--reuid", &uid.to_string(), "--regid", &gid.to_string(), "--clear-groups"]);
    }
    command.arg("--").arg(program);
    command
}

type Job = (Command, mpsc::Sender<io::Result<Child>>);

/// Spawns on the thread that never ends.
pub(crate) fn spawn(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<mpsc::Sender<Job>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (jobs, inbox) = mpsc::channel::<Job>();
        thread::Builder::new()
            .name("spawner".into())
            .spawn(move || {
                for (mut command, reply) in inbox {
                    // A caller that is gone takes its child along: dropping the reply is fine.
                    let _ = reply.send(command.spawn());
                }
            })
            .expect("a thread can be made");
        jobs
    });
    let (reply, answer) = mpsc::channel();
    spawner.send((command, reply)).expect("the spawner lives as long as the process");
    answer.recv().expect("the spawner answers every job")
}
