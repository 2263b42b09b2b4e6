//! `lockstep log`: what stands in the transaction stream, in order.

use std::io::Write;

use lockstep_common::codec::DecodeError;
use lockstep_common::config::Config;
use lockstep_common::model::place::Place;
use lockstep_common::model::record::{Body, Fragment, Record};
use lockstep_common::service::Ending;
use lockstep_common::{Failure, Shutdown};
use lockstep_log::{Batch, Item, Schemas, Seek, Stream};
use serde_json::json;

use crate::arguments::LogOptions;
use crate::render;

/// Prints records until the limit, the end of the log or shutdown.
///
/// # Errors
/// A place that is not in the log, a record that cannot be decoded, a log that is away.
pub(crate) async fn print(
    config: &Config,
    options: LogOptions,
    shutdown: Shutdown,
) -> Result<(), Ending> {
    let from: Place = options.from.parse().map_err(Ending::usage)?;
    let log = lockstep_log::open_for_reading(&config.log, &config.pipeline.name).await?;
    let mut reader = log.reader(Stream::Transactions).await?;
    reader.seek(Seek::to(from)).await?;
    let mut printer = Printer { schemas: Schemas::open(log.as_ref()).await?, json: options.json };
    let mut left = options.limit.unwrap_or(u64::MAX);
    while left > 0 {
        let batch = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            batch = reader.read() => batch?,
        };
        let Batch::Items(items) = batch else {
            if options.follow {
                continue;
            }
            break;
        };
        for item in items {
            if left == 0 {
                break;
            }
            let text = printer.text(&item).await?;
            left -= 1;
            if writeln!(std::io::stdout(), "{text}").is_err() {
                // The reader of our output (head, less) has seen enough.
                return Ok(());
            }
        }
    }
    Ok(())
}

struct Printer {
    schemas: Schemas,
    json: bool,
}

impl Printer {
    async fn text(&mut self, item: &Item) -> Result<String, Failure> {
        let mut decoded = self.schemas.decoder().decode(&item.payload);
        if let Err(DecodeError::UnknownSchema(fingerprint)) = decoded {
            decoded = self.schemas.writer_schema(fingerprint).await?.decode(&item.payload);
        }
        let record = match decoded {
            Ok(record) => record,
            Err(DecodeError::UnknownKind { kind, skippable: true }) => {
                return Ok(format!("{:>10}  (a {kind}, newer than this program)", item.offset));
            }
            Err(error) => return Err(Failure::from(error)),
        };
        if self.json {
            self.json(item.offset, &record).await
        } else {
            self.line(item.offset, &record).await
        }
    }

    async fn json(&mut self, offset: u64, record: &Record<'_>) -> Result<String, Failure> {
        let mut out = render::head(offset, record);
        if let Body::Fragment(fragment) = &record.body {
            out.insert("fragment".into(), json!(fragment.index));
            out.insert("last".into(), json!(fragment.last));
            let mut changes = Vec::with_capacity(fragment.changes.len());
            for change in &fragment.changes {
                let table = self.schemas.table(change.table).await?;
                changes.push(render::change(change, &table));
            }
            out.insert("changes".into(), changes.into());
        }
        Ok(serde_json::Value::Object(out).to_string())
    }

    async fn line(&mut self, offset: u64, record: &Record<'_>) -> Result<String, Failure> {
        let what = match &record.body {
            Body::Fragment(fragment) => self.summary(fragment).await?,
            Body::Epoch(epoch) => format!("epoch {} on {}", record.epoch, epoch.host),
            other => render::kind(other).to_owned(),
        };
        Ok(format!(
            "{offset:>10}  {}  {}Z  {what}",
            record.position,
            render::timestamp(record.time)
        ))
    }

    /// `dbo.orders +1 ~2 -0, dbo.stock ~3`, in order of first appearance.
    async fn summary(&mut self, fragment: &Fragment<'_>) -> Result<String, Failure> {
        use lockstep_common::model::record::Operation;
        let mut counts: Vec<(String, [u64; 4])> = Vec::new();
        for change in &fragment.changes {
            let name = self.schemas.table(change.table).await?.name.to_string();
            let at = match counts.iter().position(|(known, _)| *known == name) {
                Some(at) => at,
                None => {
                    counts.push((name, [0; 4]));
                    counts.len() - 1
                }
            };
            counts[at].1[match change.operation {
                Operation::Insert => 0,
                Operation::Update => 1,
                Operation::Delete => 2,
                Operation::Truncate => 3,
            }] += 1;
        }
        let mut text: Vec<String> = counts
            .iter()
            .map(|(name, [inserts, updates, deletes, truncates])| {
                let truncated = if *truncates > 0 { " truncated" } else { "" };
                format!("{name} +{inserts} ~{updates} -{deletes}{truncated}")
            })
            .collect();
        if fragment.index > 0 || !fragment.last {
            let end = if fragment.last { ", last" } else { "" };
            text.push(format!("(fragment {}{end})", fragment.index));
        }
        Ok(text.join(", "))
    }
}
