//! Source, target and broker: private ones, or those the user names.

use anyhow::{Context, Result};
use lockstep_servers::{Double, DoubleOptions, Kafka, Postgres, PostgresOptions, Scratch};

use super::options::Options;
use super::view::View;
use crate::source::Source;

/// The source database on a private double, and the target database on a private PostgreSQL.
const DATABASE: &str = "shop";

/// What runs beside the pipeline; private servers end when this is dropped.
#[derive(Debug)]
pub(super) struct Servers {
    pub(super) source: Source,
    pub(super) target_url: String,
    pub(super) postgres: Option<Postgres>,
    pub(super) kafka: Option<Kafka>,
    double: Option<Double>,
    /// Data of the servers and of the pipeline.
    pub(super) dir: Scratch,
}

impl Servers {
    pub(super) fn start(options: &Options) -> Result<Self> {
        let dir = Scratch::new("lockstep-demo-")?;
        let (source, double) = match &options.source_url {
            Some(url) => (Source::parse(url)?, None),
            None => {
                let (source, double) = start_double(&dir)?;
                (source, Some(double))
            }
        };
        let (target_url, postgres) = match &options.target_url {
            Some(url) => (url.clone(), None),
            None => {
                let options = PostgresOptions { fsync: true, ..PostgresOptions::default() };
                let postgres = Postgres::start(options).context("start PostgreSQL")?;
                postgres.create_database(DATABASE)?;
                // It listens on the loopback only, and has no certificate.
                (format!("{}?sslmode=disable", postgres.url(DATABASE)), Some(postgres))
            }
        };
        let kafka = options.kafka.then(Kafka::start).transpose().context("start Kafka")?;
        Ok(Servers { source, target_url, postgres, kafka, double, dir })
    }

    pub(super) fn has_private_source(&self) -> bool {
        self.double.is_some()
    }

    pub(super) fn describe(&self, view: &View) {
        let whose = |private: bool| if private { "private" } else { "yours" };
        view.event(&format!(
            "source: {} at {}:{}, database {} ({})",
            if self.double.is_some() { "SQL Server double" } else { "SQL Server" },
            self.source.host,
            self.source.port,
            self.source.database,
            whose(self.double.is_some())
        ));
        match &self.postgres {
            Some(postgres) => view.event(&format!(
                "target: PostgreSQL at {}:{}, database {DATABASE} (private)",
                postgres.host(),
                postgres.port()
            )),
            None => view.event("target: PostgreSQL (yours)"),
        }
        if let Some(kafka) = &self.kafka {
            view.event(&format!("log: Kafka at {}", kafka.address()));
        }
    }
}

fn start_double(dir: &Scratch) -> Result<(Source, Double)> {
    let data = dir.path().join("source");
    std::fs::create_dir(&data)?;
    let double = Double::start(DoubleOptions { data: Some(data), ..DoubleOptions::default() })?;
    let source = Source::on(&double, DATABASE);
    Ok((source, double))
}
