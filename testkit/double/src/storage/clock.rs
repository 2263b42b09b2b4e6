//! The server's clock. It follows the machine's until a test sets, freezes or advances it; the
//! capture job's waits run on it too, so that a test can let five minutes pass in no time.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::Value;

/// Days from 0001-01-01 to 1970-01-01.
const DAYS_TO_1970: i64 = 719_162;
/// Days from 1900-01-01 to 1970-01-01.
const DAYS_1900_TO_1970: i64 = 25_567;
const MICROS_PER_DAY: i64 = 86_400_000_000;

/// A point in time: microseconds since 1970-01-01 UTC.
pub type Micros = i64;

#[derive(Debug)]
struct Reading {
    /// Added to the machine's time, microseconds.
    offset: i64,
    /// Where it stands still, if it does.
    frozen: Option<Micros>,
    /// Server-local time is UTC plus these minutes.
    utc_offset_minutes: i16,
    /// Wakes sleepers on every change.
    generation: u64,
}

/// The clock of one server.
#[derive(Debug)]
pub struct Clock {
    reading: Mutex<Reading>,
    changed: Condvar,
}

impl Default for Clock {
    fn default() -> Self {
        Clock {
            reading: Mutex::new(Reading {
                offset: 0,
                frozen: None,
                utc_offset_minutes: 0,
                generation: 0,
            }),
            changed: Condvar::new(),
        }
    }
}

impl Clock {
    fn reading(&self) -> MutexGuard<'_, Reading> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Reading)) {
        let mut reading = self.reading();
        change(&mut reading);
        reading.generation += 1;
        drop(reading);
        self.changed.notify_all();
    }

    /// Now, UTC.
    pub fn now(&self) -> Micros {
        now_of(&self.reading())
    }

    /// Now in server-local time (microseconds since 1970-01-01 00:00 local).
    pub fn local_now(&self) -> Micros {
        let reading = self.reading();
        now_of(&reading) + i64::from(reading.utc_offset_minutes) * 60_000_000
    }

    /// Minutes east of UTC.
    pub fn utc_offset_minutes(&self) -> i16 {
        self.reading().utc_offset_minutes
    }

    /// Sets the server's time zone, minutes east of UTC.
    pub fn set_utc_offset_minutes(&self, minutes: i16) {
        self.change(|reading| reading.utc_offset_minutes = minutes);
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_micros()).unwrap_or(i64::MAX / 4);
        self.change(|reading| match &mut reading.frozen {
            Some(at) => *at += by,
            None => reading.offset += by,
        });
    }

    /// Sets it back, as another machine's clock may be.
    pub fn set_back(&self, by: Duration) {
        let by = i64::try_from(by.as_micros()).unwrap_or(i64::MAX / 4);
        self.change(|reading| match &mut reading.frozen {
            Some(at) => *at -= by,
            None => reading.offset -= by,
        });
    }

    /// Lets it stand still from now on; only [`advance`](Clock::advance) moves it then.
    pub fn freeze(&self) {
        self.change(|reading| reading.frozen = Some(now_of(reading)));
    }

    /// Lets it run again from where it stands.
    pub fn thaw(&self) {
        self.change(|reading| {
            if let Some(at) = reading.frozen.take() {
                reading.offset = at - machine_now();
            }
        });
    }

    /// Sleeps until `duration` has passed on this clock or `stop` answers true. `stop` is asked
    /// on every change of the clock and on [`wake`](Clock::wake).
    pub fn sleep(&self, duration: Duration, stop: impl Fn() -> bool) {
        let mut reading = self.reading();
        let until = now_of(&reading)
            .saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX / 4));
        while !stop() {
            let left = until - now_of(&reading);
            if left <= 0 {
                return;
            }
            reading = if reading.frozen.is_some() {
                self.changed.wait(reading).unwrap_or_else(PoisonError::into_inner)
            } else {
                let left = Duration::from_micros(u64::try_from(left).unwrap_or(0));
                self.changed
                    .wait_timeout(reading, left.min(Duration::from_secs(3600)))
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            };
        }
    }

    /// Makes every sleeper ask its `stop` again.
    pub fn wake(&self) {
        self.change(|_| ());
    }
}

fn machine_now() -> Micros {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_micros()).ok())
        .unwrap_or(0)
}

fn now_of(reading: &Reading) -> Micros {
    reading.frozen.unwrap_or_else(|| machine_now() + reading.offset)
}

/// A time as `datetime`, rounded to 1/300 s as SQL Server rounds.
pub fn datetime(at: Micros) -> Value {
    let day = at.div_euclid(MICROS_PER_DAY);
    let ticks = (at.rem_euclid(MICROS_PER_DAY) * 300 + 500_000) / 1_000_000;
    let (day, ticks) = if ticks >= 86_400 * 300 { (day + 1, 0) } else { (day, ticks) };
    Value::DateTime {
        days: i32::try_from(day + DAYS_1900_TO_1970).unwrap_or(i32::MAX),
        ticks: u32::try_from(ticks).unwrap_or(0),
    }
}

/// A time as `datetime2(7)`.
pub fn datetime2(at: Micros) -> Value {
    Value::DateTime2 {
        days: u32::try_from(at.div_euclid(MICROS_PER_DAY) + DAYS_TO_1970).unwrap_or(0),
        time: u64::try_from(at.rem_euclid(MICROS_PER_DAY)).unwrap_or(0) * 10,
    }
}

/// A deadline on the machine's own clock, for lock timeouts (those are real time even where the
/// server's clock stands still).
pub(crate) fn deadline(after: Option<Duration>) -> Option<Instant> {
    after.and_then(|after| Instant::now().checked_add(after))
}
