//! `lockstep status`: what the running services say, asked over their own HTTP addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use indicatif::{HumanBytes, HumanCount};
use lockstep_common::config::{Config, Http};
use lockstep_common::failure::exit;
use lockstep_common::http::{self, client::Client};
use lockstep_common::service::Ending;
use lockstep_common::service::status::{Counts, HeldTable, LoadState, LoadStatus, TableLoadStatus};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::arguments::StatusOptions;
use crate::load_view::{Totals, mean_rate, state_name, table_state_name};

/// How long a service may take to answer.
const DEADLINE: Duration = Duration::from_secs(5);

/// Prints the status of every service of the file that has an `http` address.
///
/// # Errors
/// When no service has one, or one does not answer.
pub(crate) async fn print(config: &Config, options: StatusOptions) -> Result<(), Ending> {
    let mut services: Vec<(String, SocketAddr)> = Vec::new();
    if let Some(address) = config.capture.http {
        services.push(("capture".into(), address));
    }
    for (name, apply) in &config.apply {
        services.extend(apply.http.map(|address| (format!("apply.{name}"), address)));
    }
    if services.is_empty() {
        return Err(Ending::usage("no service of the configuration has an `http` address to ask"));
    }
    let client = client(&config.http).await?;
    let (all, silent) = gather(&client, services).await;
    if options.json {
        println!("{}", Value::Object(all));
    } else {
        all.iter().for_each(|(name, status)| println!("{}", text(name, status)));
    }
    if silent.is_empty() {
        return Ok(());
    }
    Err(Ending { code: exit::CHECK, message: format!("no answer from {}", silent.join("; ")) })
}

/// What each service says of itself, and those that say nothing.
async fn gather(
    client: &Client,
    services: Vec<(String, SocketAddr)>,
) -> (Map<String, Value>, Vec<String>) {
    let mut all = Map::new();
    let mut silent = Vec::new();
    for (name, address) in services {
        match ask(client, address).await.and_then(|answer| own_part(&name, &answer)) {
            Ok(status) => {
                all.insert(name, status);
            }
            Err(error) => {
                all.insert(name.clone(), json!({"unreachable": error.to_string()}));
                silent.push(format!("{name} at {address}: {error}"));
            }
        }
    }
    (all, silent)
}

/// A service's own status in the answer of the server that it is asked at.
fn own_part(name: &str, answer: &Value) -> std::io::Result<Value> {
    let part = match name.strip_prefix("apply.") {
        Some(apply) => answer.get("apply").and_then(|applies| applies.get(apply)),
        None => answer.get(name),
    };
    part.cloned().ok_or_else(|| {
        std::io::Error::other("another service answers there: correct its `http` address")
    })
}

/// What asks the services, with the token of the configuration.
///
/// # Errors
/// When the token's file cannot be used.
pub(crate) async fn client(access: &Http) -> Result<Client, Ending> {
    let token = http::token(access).await;
    let token = token.map_err(|error| Ending::usage(format!("http.token_file: {error}")))?;
    Ok(Client::new(token))
}

/// What `/status` says.
async fn ask(client: &Client, address: SocketAddr) -> std::io::Result<Value> {
    let body = client.get(address, "/status", DEADLINE).await?.ok()?;
    serde_json::from_str(&body).map_err(std::io::Error::other)
}

/// The lines for a person: scalars, then the load, then the tables.
fn text(name: &str, status: &Value) -> String {
    let mut lines = vec![name.to_owned()];
    let Some(fields) = status.as_object() else { return format!("{name}\n  {status}") };
    for (key, value) in fields {
        match value {
            Value::Null => {}
            Value::Object(_) if key == "tables" || key == "load" => {}
            Value::Array(_) if key == "held" => {}
            Value::String(plain) => lines.push(format!("  {key}: {plain}")),
            Value::Array(items) if items.iter().all(Value::is_string) => {
                lines.extend(
                    items.iter().filter_map(Value::as_str).map(|i| format!("  {key}: {i}")),
                );
            }
            Value::Object(inner) => {
                lines.push(format!("  {key}:"));
                lines.extend(inner.iter().map(|(k, v)| format!("    {k}: {v}")));
            }
            other => lines.push(format!("  {key}: {other}")),
        }
    }
    let held: Vec<HeldTable> = read(status, "held").unwrap_or_default();
    lines.extend(held.iter().map(|table| format!("  held: {table}")));
    let load: Option<LoadStatus> = read(status, "load");
    if let Some(load) = &load {
        lines.push(format!("  full load: {}", load_line(load)));
    }
    let tables: BTreeMap<String, Counts> = read(status, "tables").unwrap_or_default();
    lines.extend(statistics(&tables, load.as_ref()).into_iter().map(|line| format!("  {line}")));
    lines.join("\n")
}

fn read<T: DeserializeOwned>(status: &Value, key: &str) -> Option<T> {
    T::deserialize(status.get(key)?).ok()
}

/// How far a load is, and what it waits for.
fn load_line(load: &LoadStatus) -> String {
    let totals = Totals::of(load);
    let rows = match totals.expected {
        Some(expected) if load.state == LoadState::Loading => {
            format!("{} of about {} rows", HumanCount(totals.rows), HumanCount(expected))
        }
        _ => format!("{} rows", HumanCount(totals.rows)),
    };
    let mut line = format!(
        "{}, {} of {} tables, {rows}, {}",
        state_name(load.state),
        totals.loaded,
        totals.tables,
        HumanBytes(totals.bytes)
    );
    if let Some(position) = load.consistent {
        line.push_str(&format!(", consistent from {position}"));
    }
    if let Some(waiting) = &load.waiting {
        line.push_str(&format!(", waiting: {waiting}"));
    }
    line
}

const CHANGES: [&str; 4] = ["table", "inserts", "updates", "deletes"];
const LOADS: [&str; 6] = ["state", "load rows", "expected", "bytes", "seconds", "rows/s"];

/// One line a table, as DMS's Table Statistics: changes since the service started, and the load.
fn statistics(tables: &BTreeMap<String, Counts>, load: Option<&LoadStatus>) -> Vec<String> {
    let loads = load.map(|load| &load.tables);
    let names: BTreeSet<&String> =
        tables.keys().chain(loads.into_iter().flat_map(|loads| loads.keys())).collect();
    if names.is_empty() {
        return Vec::new();
    }
    let mut rows = vec![CHANGES.map(str::to_owned).to_vec()];
    if load.is_some() {
        rows[0].extend(LOADS.map(str::to_owned));
    }
    for name in names {
        let counts = tables.get(name).copied().unwrap_or_default();
        let mut row = vec![name.clone()];
        row.extend([counts.inserts, counts.updates, counts.deletes].map(human));
        if let Some(loads) = loads {
            row.extend(loads.get(name).map_or_else(|| LOADS.map(|_| "-".to_owned()), loaded));
        }
        rows.push(row);
    }
    aligned(&rows)
}

fn loaded(table: &TableLoadStatus) -> [String; 6] {
    let some = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    [
        table_state_name(table.state).to_owned(),
        human(table.rows),
        some(table.rows_expected.map(human)),
        HumanBytes(table.bytes).to_string(),
        some((table.seconds > 0.0).then(|| format!("{:.1}", table.seconds))),
        some(mean_rate(table).map(|rate| format!("{rate:.0}"))),
    ]
}

fn human(count: u64) -> String {
    HumanCount(count).to_string()
}

/// Columns as wide as they must be; the first begins at the left, numbers end at the right.
fn aligned(rows: &[Vec<String>]) -> Vec<String> {
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let line = |row: &Vec<String>| {
        let cells = row.iter().enumerate().map(|(i, cell)| {
            let width = width(i).unwrap_or(0);
            if i == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        cells.collect::<Vec<_>>().join("  ")
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use lockstep_common::Shutdown;
    use lockstep_common::http::Endpoints;
    use lockstep_common::service::status::{ApplyStatus, CaptureStatus, TableLoadState};
    use tokio::sync::watch;

    use super::*;

    #[test]
    fn a_status_reads_like_table_statistics() {
        let counts = Counts { inserts: 1, updates: 20_000, deletes: 3 };
        let loaded = TableLoadStatus {
            state: TableLoadState::Loading,
            rows: 1_500,
            rows_expected: Some(2_000),
            bytes: 2048,
            seconds: 0.5,
            ..TableLoadStatus::default()
        };
        let load = LoadStatus {
            tables: [("dbo.orders".to_owned(), loaded)].into(),
            waiting: Some("a commit".to_owned()),
            ..LoadStatus::default()
        };
        let status = ApplyStatus {
            tables: [("dbo.orders".to_owned(), counts), ("dbo.x".to_owned(), counts)].into(),
            load: Some(load),
            notices: vec!["said".to_owned()],
            held: vec![HeldTable::until_loaded("dbo.late", "it came late")],
            ..ApplyStatus::default()
        };
        let text = text("apply.main", &serde_json::to_value(&status).unwrap());
        for line in [
            "  state: starting",
            "  notices: said",
            "  held: table dbo.late is held: it came late; run: lockstep reload dbo.late",
            "  full load: loading, 0 of 1 tables, 1,500 of about 2,000 rows, 2.00 KiB, \
             waiting: a commit",
            "  table       inserts  updates  deletes    state  load rows  expected     bytes  \
             seconds  rows/s",
            "  dbo.orders        1   20,000        3  loading      1,500     2,000  2.00 KiB      \
             0.5    3000",
            "  dbo.x             1   20,000        3        -          -         -         -        \
             -       -",
        ] {
            assert!(text.lines().any(|l| l == line), "{line:?} is not in\n{text}");
        }
    }

    #[tokio::test]
    async fn what_the_server_sends_is_printed_as_a_table() {
        let counts = Counts { inserts: 1, updates: 2, deletes: 3 };
        let tables = BTreeMap::from([("dbo.orders".to_owned(), counts)]);
        let capture = CaptureStatus { tables: tables.clone(), ..CaptureStatus::default() };
        let apply = ApplyStatus { tables, ..ApplyStatus::default() };
        let ((_says, capture), (_too, apply)) = (watch::channel(capture), watch::channel(apply));
        let endpoints = Endpoints::capture(capture).with(Endpoints::apply("main", apply));
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let (address, shutdown) = (listener.local_addr().expect("bound"), Shutdown::new());
        let server = tokio::spawn(http::serve(listener, endpoints, shutdown.clone()));

        let names = ["capture", "apply.main", "apply.other"];
        let services = names.map(|name| (name.to_owned(), address)).to_vec();
        let (all, silent) = gather(&Client::default(), services).await;
        for name in ["capture", "apply.main"] {
            let text = text(name, &all[name]);
            for line in [
                name,
                "  state: starting",
                "  table       inserts  updates  deletes",
                "  dbo.orders        1        2        3",
            ] {
                assert!(text.lines().any(|l| l == line), "{line:?} is not in\n{text}");
            }
            assert!(!text.contains('{'), "raw JSON:\n{text}");
        }
        assert!(silent.len() == 1 && silent[0].contains("apply.other"), "{silent:?}");
        shutdown.cancel();
        server.await.expect("no panic").expect("served");
    }

    #[test]
    fn without_a_load_there_are_changes_only() {
        let tables = BTreeMap::from([("dbo.t".to_owned(), Counts::default())]);
        assert_eq!(
            statistics(&tables, None),
            ["table  inserts  updates  deletes", "dbo.t        0        0        0"]
        );
        assert!(statistics(&BTreeMap::new(), None).is_empty());
    }
}
