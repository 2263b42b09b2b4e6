//! What the configuration asks of capture: where a new log begins, and where capture ends.

use lockstep_common::Code;
use lockstep_common::config::Task;
use lockstep_common::model::place::Place;
use lockstep_common::{Failure, Position};

use crate::source::{Start, Window};

/// Reads `capture.start`.
///
/// # Errors
/// `Halt` for what is no place, or none of the source.
pub fn parse_start(start: Option<&str>) -> Result<Option<Start>, Failure> {
    let Some(text) = start else { return Ok(None) };
    let wrong = |why: String| {
        Failure::new(Code::ConfigStart, format!("capture.start: {why}")).remedy(
            "write `now`, `earliest`, `time:` with a time such as 2026-11-23T10:00:00Z, or `position:` with \
             a position",
        )
    };
    match text.parse().map_err(wrong)? {
        Place::Now => Ok(Some(Start::Now)),
        Place::Earliest => Ok(Some(Start::Earliest)),
        Place::Position(position) => Ok(Some(Start::After(position))),
        Place::Time(time) => Ok(Some(Start::Time(time))),
        Place::Offset(_) => Err(wrong(format!("`{text}` is a place in a log, not in the source"))),
    }
}

/// Where the log of a task begins when it is new.
///
/// # Errors
/// `Halt` when a task that loads is told to start elsewhere than now.
pub fn first_start(task: Task, start: Option<Start>) -> Result<Start, Failure> {
    match (task, start) {
        (Task::Cdc, start) => Ok(start.unwrap_or(Start::Earliest)),
        (Task::FullLoad | Task::FullLoadAndCdc, None | Some(Start::Now)) => Ok(Start::Load),
        (Task::FullLoad | Task::FullLoadAndCdc, Some(_)) => Err(Failure::new(
            Code::ConfigStart,
            "capture.start is set, but the task loads the tables, which begins now",
        )
        .remedy("remove capture.start, or set pipeline.task = \"cdc\" to follow changes only")),
    }
}

/// Where capture ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// With the last transaction at or below this position.
    At(Position),
    /// With the last one before the first that was committed after this time, 100 ns since
    /// 1970-01-01Z.
    Time(i64),
}

impl Stop {
    /// Reads `capture.stop`.
    ///
    /// # Errors
    /// `Halt` for what is none.
    pub fn parse(stop: Option<&str>) -> Result<Option<Self>, Failure> {
        let Some(text) = stop else { return Ok(None) };
        let wrong = |why: String| {
            Failure::new(Code::ConfigStop, format!("capture.stop: {why}")).remedy(
                "write `time:` with a time such as 2026-11-23T10:00:00Z, or `position:` with a position",
            )
        };
        match text.parse().map_err(wrong)? {
            Place::Position(position) => Ok(Some(Stop::At(position))),
            Place::Time(time) => Ok(Some(Stop::Time(time))),
            Place::Now | Place::Earliest | Place::Offset(_) => {
                Err(wrong(format!("`{text}` is no place to stop at")))
            }
        }
    }

    /// Nothing after `position` is to be written, whatever comes.
    pub fn is_reached(&self, position: Position) -> bool {
        matches!(self, Stop::At(stop) if position >= *stop)
    }

    /// Cuts off what is not to be written; whether nothing comes after what is left.
    pub fn cut(&self, window: &mut Window) -> bool {
        let all = window.heads.len();
        let within = window.heads.iter().position(|head| match self {
            Stop::At(stop) => head.position > *stop,
            Stop::Time(stop) => head.time > *stop,
        });
        window.heads.truncate(within.unwrap_or(all));
        let reached = window.heads.len() < all || self.is_reached(window.through());
        window.more &= !reached;
        reached
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{CommitFingerprint, Head};
    use lockstep_common::model::record::SourceTime;

    fn position(n: u8) -> Position {
        Position::new(1, &[n; 10]).unwrap()
    }

    fn window(times: &[i64]) -> Window {
        let head = |(n, time): (u8, &i64)| Head {
            position: position(n),
            time: *time,
            fingerprint: CommitFingerprint {
                transaction_id: None,
                source_time: SourceTime { raw: String::new(), offset: 0 },
            },
        };
        let heads = (1..).zip(times).map(head).collect();
        Window { after: position(0), heads, more: true }
    }

    #[test]
    fn start_points_are_read() {
        assert_eq!(parse_start(None).unwrap(), None);
        assert_eq!(parse_start(Some("now")).unwrap(), Some(Start::Now));
        let lsn = parse_start(Some("1/00000027:00000758:0005")).unwrap();
        assert!(matches!(lsn, Some(Start::After(p)) if p.source().len() == 10));
        let time = parse_start(Some("time:1970-01-01T00:00:02Z")).unwrap();
        assert_eq!(time, Some(Start::Time(20_000_000)));
        for wrong in ["yesterday", "time:yesterday", "offset:3", "latest", ""] {
            assert_eq!(
                parse_start(Some(wrong)).unwrap_err().code.as_str(),
                "config.start",
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_task_that_loads_begins_now() {
        for task in [Task::FullLoad, Task::FullLoadAndCdc] {
            for start in [None, Some(Start::Now)] {
                assert_eq!(first_start(task, start).unwrap(), Start::Load);
            }
            for start in [Start::Earliest, Start::Time(1), Start::After(position(1))] {
                assert_eq!(
                    first_start(task, Some(start)).unwrap_err().code.as_str(),
                    "config.start"
                );
            }
        }
        assert_eq!(first_start(Task::Cdc, None).unwrap(), Start::Earliest);
        assert_eq!(first_start(Task::Cdc, Some(Start::Now)).unwrap(), Start::Now);
    }

    #[test]
    fn windows_are_cut_at_the_stop() {
        let cut = |stop: Stop, times: &[i64]| {
            let mut window = window(times);
            let reached = stop.cut(&mut window);
            assert_eq!(window.more, !reached);
            (window.heads.len(), reached)
        };
        assert_eq!(cut(Stop::At(position(2)), &[1, 2, 3]), (2, true));
        assert_eq!(cut(Stop::At(position(2)), &[1, 2]), (2, true));
        assert_eq!(cut(Stop::At(position(2)), &[1]), (1, false));
        assert_eq!(cut(Stop::At(position(0)), &[1]), (0, true));
        assert_eq!(cut(Stop::Time(20), &[10, 20]), (2, false));
        assert_eq!(cut(Stop::Time(20), &[10, 21, 5]), (1, true));
        assert!(Stop::At(position(2)).is_reached(position(2)));
        assert!(!Stop::At(position(2)).is_reached(position(1)));
        assert!(!Stop::Time(0).is_reached(position(9)));
        assert_eq!(Stop::parse(Some("now")).unwrap_err().code.as_str(), "config.stop");
        assert_eq!(Stop::parse(None).unwrap(), None);
    }
}
