//! Named places where a test may make a service die.
//!
//! A [`FailPoints`] is handed to a service with its other collaborators; in production it is empty
//! and costs a branch. In-process tests get [`Crash`] back, upon which the service drops everything
//! without flushing; a process started with `LOCKSTEP_FAIL_POINT=name:n` kills itself (SIGKILL) at
//! the n-th hit of that name, as a power cut would.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// The variable a process reads its fail point from: `name:n`.
pub const VARIABLE: &str = "LOCKSTEP_FAIL_POINT";

/// The service must drop everything where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("crashed at fail point {0}")]
pub struct Crash(pub &'static str);

/// The armed fail points of one service instance.
#[derive(Clone, Debug, Default)]
pub struct FailPoints(Option<Arc<Mutex<Armed>>>);

#[derive(Debug)]
struct Armed {
    remaining: HashMap<String, u64>,
    kill_process: bool,
}

impl FailPoints {
    /// Crashes in-process at the `n`-th hit (from 1) of `name`.
    pub fn armed(name: &str, n: u64) -> Self {
        Self::with(name, n, false)
    }

    /// Reads [`VARIABLE`]; empty when it is not set.
    ///
    /// # Errors
    /// The variable's value when it is not `name:n` with n from 1.
    pub fn from_env() -> Result<Self, String> {
        let Ok(text) = std::env::var(VARIABLE) else { return Ok(Self::default()) };
        let parsed = text
            .rsplit_once(':')
            .and_then(|(name, n)| Some((name, n.parse::<u64>().ok().filter(|n| *n > 0)?)));
        match parsed {
            Some((name, n)) => Ok(Self::with(name, n, true)),
            None => Err(text),
        }
    }

    fn with(name: &str, n: u64, kill_process: bool) -> Self {
        let remaining = HashMap::from([(name.to_owned(), n)]);
        FailPoints(Some(Arc::new(Mutex::new(Armed { remaining, kill_process }))))
    }

    /// Passes the place `name`.
    ///
    /// # Errors
    /// [`Crash`] when the test wants the service dead here.
    pub fn hit(&self, name: &'static str) -> Result<(), Crash> {
        let Some(armed) = &self.0 else { return Ok(()) };
        let mut armed = armed.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let Some(left) = armed.remaining.get_mut(name) else { return Ok(()) };
        *left -= 1;
        if *left > 0 {
            return Ok(());
        }
        armed.remaining.remove(name);
        if armed.kill_process {
            kill_self();
        }
        Err(Crash(name))
    }
}

/// SIGKILL to ourselves: nothing is flushed and no destructor runs.
fn kill_self() -> ! {
    let pid = std::process::id().to_string();
    let _ = std::process::Command::new("kill").args(["-KILL", &pid]).status();
    std::process::abort()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fires_once_at_the_nth_hit_of_its_name() {
        let points = FailPoints::armed("a", 2);
        assert_eq!(points.hit("b"), Ok(()));
        assert_eq!(points.hit("a"), Ok(()));
        assert_eq!(points.hit("a"), Err(Crash("a")));
        assert_eq!(points.hit("a"), Ok(()));
        assert_eq!(FailPoints::default().hit("a"), Ok(()));
    }
}
