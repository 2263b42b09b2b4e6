//! How a service in this process ended.

use lockstep_common::Code;
use lockstep_common::Failure;
use lockstep_common::failure::Disposition;

/// The end of a service.
#[derive(Debug)]
pub struct Ended(pub Result<(), Failure>);

impl Ended {
    /// It stopped as asked.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn expect_stopped(self) {
        if let Err(failure) = self.0 {
            panic!("the service should have stopped as asked: {failure}");
        }
    }

    /// It crashed at a fail point.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn expect_crashed(self) {
        match self.0 {
            Err(failure) if failure.code == Code::Failpoint => {}
            other => panic!("the service should have crashed at its fail point: {other:?}"),
        }
    }

    /// It halted; returns why.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn expect_halted(self) -> Failure {
        self.expect(Disposition::Halt)
    }

    /// It was fenced; returns why.
    ///
    /// # Panics
    /// When it was not.
    #[track_caller]
    pub fn expect_fenced(self) -> Failure {
        self.expect(Disposition::Fenced)
    }

    #[track_caller]
    fn expect(self, disposition: Disposition) -> Failure {
        match self.0 {
            Err(failure)
                if failure.disposition() == disposition && failure.code != Code::Failpoint =>
            {
                failure
            }
            other => panic!("the service should have ended with {disposition:?}: {other:?}"),
        }
    }
}
