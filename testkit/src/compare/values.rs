//! What is in the target at the end, beside the source, column by column.
//!
//! Source values are rendered as everywhere in the test bed, with all their digits; target values are
//! PostgreSQL's own text. A difference is listed with its first example and not judged here.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use tokio_postgres::{Client, SimpleQueryMessage};

use super::target::connect;
use crate::render;
use crate::shape::{Column, Table};
use crate::source::Source;

/// A column of the target.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    /// `table.column`, or the table where rows are missing or too many.
    pub(super) what: String,
    /// The source's type and the target's.
    pub(super) types: (String, String),
    /// Rows compared, and those in which it differs.
    pub(super) rows: usize,
    pub(super) different: usize,
    /// The first of them: the source's value and the target's.
    pub(super) example: (String, String),
}

type Rows = BTreeMap<Vec<String>, Vec<Option<String>>>;

/// Compares all tables, at rest; returns what differs and how many rows there are.
pub(super) async fn compare(
    source: &Source,
    target: &str,
    tables: &[Table],
) -> Result<(Vec<Finding>, usize)> {
    let client = connect(target).await?;
    client
        .batch_execute(
            "SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; SET bytea_output = 'hex'; \
             SET extra_float_digits = 1",
        )
        .await?;
    let (mut findings, mut count) = (Vec::new(), 0);
    for table in tables {
        let in_source = of_source(source, table).await?;
        let (in_target, types) = of_target(&client, table).await?;
        count += in_source.len();
        findings.extend(missing(table, &in_source, &in_target));
        for (i, column) in table.columns.iter().enumerate() {
            findings.extend(differs(table, (i, column), &types[i], &in_source, &in_target));
        }
    }
    Ok((findings, count))
}

fn missing(table: &Table, in_source: &Rows, in_target: &Rows) -> Option<Finding> {
    let lost = in_source.keys().find(|key| !in_target.contains_key(*key));
    let extra = in_target.keys().find(|key| !in_source.contains_key(*key));
    let different = in_source.keys().filter(|key| !in_target.contains_key(*key)).count()
        + in_target.keys().filter(|key| !in_source.contains_key(*key)).count();
    let shown = |key: Option<&Vec<String>>| key.map_or("-".to_owned(), |key| key.join(", "));
    (different > 0).then(|| Finding {
        what: format!("{}: rows missing or too many", table.name),
        types: ("-".into(), "-".into()),
        rows: in_source.len(),
        different,
        example: (shown(lost), shown(extra)),
    })
}

fn differs(
    table: &Table,
    (i, column): (usize, &Column),
    target_type: &str,
    in_source: &Rows,
    in_target: &Rows,
) -> Option<Finding> {
    let both =
        || in_source.iter().filter_map(|(key, row)| Some((&row[i], &in_target.get(key)?[i])));
    let different = || both().filter(|(source, target)| source != target);
    let (source, target) = different().next()?;
    let shown = |value: &Option<String>| {
        value.as_deref().unwrap_or("NULL").chars().take(40).collect::<String>()
    };
    Some(Finding {
        what: format!("{}.{}", table.name, column.name),
        types: (column.ty.to_string(), target_type.to_owned()),
        rows: both().count(),
        different: different().count(),
        example: (shown(source), shown(target)),
    })
}

async fn of_source(source: &Source, table: &Table) -> Result<Rows> {
    let mut rows = Rows::new();
    source
        .connect()
        .await?
        .each(&table.select_sql(), |row| {
            let cells = render::source_row(table, row)?.0;
            insert(
                &mut rows,
                table,
                cells.iter().map(|c| c.as_deref().map(str::to_owned)).collect(),
            );
            Ok(())
        })
        .await?;
    Ok(rows)
}

/// The rows, and the columns' types.
async fn of_target(client: &Client, table: &Table) -> Result<(Rows, Vec<String>)> {
    let mut types = Vec::new();
    for column in &table.columns {
        let sql = format!(
            "SELECT format_type(atttypid, atttypmod) FROM pg_attribute \
             WHERE attrelid = 'dbo.{}'::regclass AND attname = '{}'",
            table.name, column.name
        );
        let row = client.query_opt(&sql, &[]).await?;
        types.push(
            row.with_context(|| format!("{}.{} is missing", table.name, column.name))?.get(0),
        );
    }
    let columns: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
    let sql = format!("SELECT {} FROM dbo.{}", columns.join(", "), table.name);
    let mut rows = Rows::new();
    for message in client.simple_query(&sql).await? {
        let SimpleQueryMessage::Row(row) = message else { continue };
        let cells = table.columns.iter().enumerate().map(|(i, column)| {
            // A text that is not of the type's form is a difference like any other.
            row.get(i).map(|text| {
                render::target_cell(column.ty, text).unwrap_or_else(|_| text.to_owned())
            })
        });
        insert(&mut rows, table, cells.collect());
    }
    Ok((rows, types))
}

fn insert(rows: &mut Rows, table: &Table, cells: Vec<Option<String>>) {
    let key = cells.iter().take(table.group_columns).map(|c| c.clone().unwrap_or_default());
    rows.insert(key.collect(), cells);
}
