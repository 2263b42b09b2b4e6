//! What can be said of tables before they are loaded.
//!
//! `sys.partitions` counts rows for whoever may SELECT the table (an estimate: it takes no locks and
//! is behind open transactions). Sizes are in `sys.dm_db_partition_stats`, which needs VIEW DATABASE
//! STATE; without it they are unknown.

use std::collections::HashMap;
use std::sync::Arc;

use lockstep_common::Failure;

use super::super::connection::{Lease, Pool};
use super::super::fields::Fields;
use super::table::LoadTable;
use crate::source::Table;
use crate::source::load::Survey;

/// Tables asked for in one statement.
const AT_ONCE: usize = 500;
const PAGE_BYTES: u64 = 8192;

/// Surveys `tables`, whose shapes are `shapes`.
pub async fn survey(
    pool: &Arc<Pool>,
    tables: &[Table],
    shapes: &[Arc<LoadTable>],
) -> Result<Vec<Survey>, Failure> {
    let objects: Vec<i32> = shapes.iter().map(|shape| shape.object_id).collect();
    let mut lease = pool.get().await?;
    for shape in shapes {
        lease = shape.all_shown(lease).await?;
    }
    let rows = row_counts(&mut lease, &objects).await?;
    lease.keep();
    // A refusal spoils the connection, so the question has one of its own.
    let mut lease = pool.get().await?;
    let pages = sums(&mut lease, &objects, page_counts, "sys.dm_db_partition_stats").await;
    let pages = match pages {
        Ok(pages) => {
            lease.keep();
            pages
        }
        Err(_) => HashMap::new(),
    };
    let of = |(table, shape): (&Table, &Arc<LoadTable>)| Survey {
        table: table.id,
        rows: rows.get(&shape.object_id).copied(),
        bytes: pages.get(&shape.object_id).map(|pages| pages * PAGE_BYTES),
        unranged: shape.key.as_ref().err().cloned(),
    };
    Ok(tables.iter().zip(shapes).map(of).collect())
}

async fn sums(
    lease: &mut Lease,
    objects: &[i32],
    sql: fn(&str) -> String,
    of: &'static str,
) -> Result<HashMap<i32, u64>, Failure> {
    let mut sums = HashMap::new();
    for some in objects.chunks(AT_ONCE) {
        let list: Vec<String> = some.iter().map(ToString::to_string).collect();
        let results = lease.batch(&sql(&list.join(", ")), &format!("read {of}")).await?;
        for row in results.iter().flatten() {
            let fields = Fields::new(row, of);
            sums.insert(fields.integer("object_id")?, fields.integer("total")?);
        }
    }
    Ok(sums)
}

/// Rows of tables, as the catalogue has them.
///
/// # Errors
/// As the server.
pub async fn row_counts(lease: &mut Lease, objects: &[i32]) -> Result<HashMap<i32, u64>, Failure> {
    sums(lease, objects, rows_of, "sys.partitions").await
}

/// Rows of the heap or of the clustered index.
fn rows_of(objects: &str) -> String {
    format!(
        "SELECT p.object_id, SUM(p.rows) AS total FROM sys.partitions AS p \
         WHERE p.index_id IN (0, 1) AND p.object_id IN ({objects}) GROUP BY p.object_id"
    )
}

/// Pages of the heap or of the clustered index, with what is off the row.
fn page_counts(objects: &str) -> String {
    format!(
        "SELECT s.object_id, SUM(s.used_page_count) AS total \
         FROM sys.dm_db_partition_stats AS s \
         WHERE s.index_id IN (0, 1) AND s.object_id IN ({objects}) GROUP BY s.object_id"
    )
}
