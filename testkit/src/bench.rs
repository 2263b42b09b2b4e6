//! The benchmark: every figure beside the raw limit measured in the same run.
//!
//! The row is the one of ten columns that all published figures of the project use (`bigint` key,
//! `int`, `smallint`, `numeric(18,4)`, `float`, two timestamps, `varchar(50)`, text, a truth value;
//! about 150 bytes). Nothing here asserts a speed: machines are shared and noisy.

mod apply;
mod codec;
mod figures;
mod huge;
mod idle;
mod latency;
mod limits;
mod load;
mod logs;
mod outage;
mod product;
mod row;
mod services;
mod soak;
mod tds;
mod watch;

use std::num::NonZeroUsize;

use anyhow::Result;
use lockstep_servers::{Postgres, PostgresOptions};

use figures::Report;

/// What to measure and how much of it.
#[derive(Clone, Debug)]
pub struct Options {
    /// 1.0 is the full size; figures of small scales are for seeing that it runs.
    pub scale: f64,
    /// Measure only the parts whose name contains this, or one case of a part.
    pub only: Option<String>,
    /// How often each figure of apply is taken; the median is shown.
    pub rounds: NonZeroUsize,
    /// A Kafka broker to append to; none leaves its figure out and says so.
    pub kafka: Option<String>,
}

impl Options {
    /// `full` scaled, at least 1.
    fn scaled(&self, full: u64) -> u64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "small positive"
        )]
        let scaled = (full as f64 * self.scale) as u64;
        scaled.max(1)
    }

    fn wants(&self, part: &str) -> bool {
        self.only.as_deref().is_none_or(|only| part.contains(only) || only.starts_with(part))
    }

    /// Whether a case of a part is wanted: `only` may go on behind the part's name.
    fn wants_case(&self, case: &str) -> bool {
        self.only.as_deref().is_none_or(|only| case.contains(only))
    }

    /// Parts that take very long have to be asked for.
    fn names(&self, part: &str) -> bool {
        self.only.as_deref() == Some(part)
    }
}

/// Runs the parts one after another and prints each figure as it comes.
///
/// # Errors
/// When a server cannot be started or a part fails.
pub async fn run(options: &Options) -> Result<()> {
    let mut report = Report::new();
    if options.wants("codec") {
        codec::measure(options, &mut report)?;
    }
    if options.wants("log") {
        logs::measure(options, &mut report).await?;
    }
    if options.wants("read") {
        tds::measure(options, &mut report).await?;
    }
    if options.wants("apply") {
        let mut postgres = postgres()?;
        let copy = limits::postgres(options, &mut report, &postgres).await?;
        apply::measure(options, &mut report, &postgres, copy).await?;
        postgres.stop(lockstep_servers::Stop::Fast)?;
    }
    if options.wants("load") {
        load::measure(options, &mut report).await?;
    }
    if options.wants("latency") {
        latency::measure(options, &mut report).await?;
    }
    if options.wants("idle") {
        idle::measure(options, &mut report).await?;
    }
    if options.wants("soak") {
        soak::measure(options, &mut report).await?;
    }
    if options.names("huge") {
        huge::measure(options, &mut report).await?;
    }
    if options.names("outage") {
        outage::measure(options, &mut report).await?;
    }
    Ok(())
}

/// A cluster as `performance.md`'s figures had it: flushing, roomy, without checkpoints in between.
fn postgres() -> Result<Postgres> {
    let settings = [
        ("shared_buffers", "1GB"),
        ("max_wal_size", "8GB"),
        ("checkpoint_timeout", "30min"),
        ("autovacuum", "off"),
    ];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    Postgres::start(PostgresOptions { fsync: true, settings })
}
