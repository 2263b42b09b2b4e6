//! Fills the tables by transactions like any other, so that they travel the pipeline too.

use rand::rngs::StdRng;

use super::plans::OrderEntryPlan;
use super::{DISTRICTS, OrderEntry, schema};
use crate::shape::{Key, Table};
use crate::workload::literal;

/// Rows of one INSERT statement and of one transaction.
const ROWS: usize = 50;

/// A row to insert: where, its key, and the literals of the columns after the key.
struct NewRow {
    table: usize,
    key: Vec<i64>,
    rest: Vec<String>,
}

pub(super) fn plans(size: &OrderEntry, rng: &mut StdRng) -> Vec<OrderEntryPlan> {
    let tables = schema::tables();
    let mut rows = Vec::new();
    for item in 1..=size.items {
        rows.push(row(&tables, schema::ITEMS, vec![item], &[("i_price", price(item))], rng));
    }
    for warehouse in 1..=size.warehouses {
        let zero = || ("w_ytd", "0".to_owned());
        rows.push(row(&tables, schema::WAREHOUSES, vec![warehouse], &[zero()], rng));
        for item in 1..=size.items {
            let fixed = [("s_quantity", "100".to_owned()), ("s_sold", "0".to_owned())];
            rows.push(row(&tables, schema::STOCK, vec![warehouse, item], &fixed, rng));
        }
        for district in 1..=DISTRICTS {
            let fixed = [("d_ytd", "0".to_owned()), ("d_next_o_id", "1".to_owned())];
            rows.push(row(&tables, schema::DISTRICTS, vec![warehouse, district], &fixed, rng));
            for customer in 1..=size.customers {
                let fixed = ["c_balance", "c_payments", "c_orders"].map(|c| (c, "0".to_owned()));
                let key = vec![warehouse, district, customer];
                rows.push(row(&tables, schema::CUSTOMERS, key, &fixed, rng));
            }
        }
    }
    // One transaction holds rows of several tables where their turns meet.
    rows.chunks(ROWS).map(|rows| insert(&tables, rows)).collect()
}

/// A row whose columns are random but for its key and the `fixed` ones.
fn row(
    tables: &[Table],
    table: usize,
    key: Vec<i64>,
    fixed: &[(&str, String)],
    rng: &mut StdRng,
) -> NewRow {
    let rest = tables[table]
        .columns
        .iter()
        .skip(key.len())
        .map(|column| match fixed.iter().find(|(name, _)| *name == column.name) {
            Some((_, literal)) => literal.clone(),
            None => literal::random(column.ty, rng),
        })
        .collect();
    NewRow { table, key, rest }
}

/// One INSERT for each run of rows of one table.
fn insert(tables: &[Table], rows: &[NewRow]) -> OrderEntryPlan {
    let mut statements = Vec::new();
    for run in rows.chunk_by(|a, b| a.table == b.table) {
        let values: Vec<String> = run
            .iter()
            .map(|row| {
                let key = row.key.iter().map(i64::to_string);
                let cells: Vec<String> = key.chain(row.rest.iter().cloned()).collect();
                format!("({})", cells.join(", "))
            })
            .collect();
        let table = &tables[run[0].table].name;
        statements.push(format!("INSERT INTO dbo.[{table}] VALUES {}", values.join(",\n")));
    }
    let keys = rows
        .iter()
        .map(|row| (row.table, Key(row.key.iter().map(|part| (*part).into()).collect())))
        .collect();
    OrderEntryPlan::populate(statements.join(";\n"), keys)
}

/// An item's price, which never changes.
pub(super) fn price_cents(item: i64) -> i64 {
    100 + item * 3_707 % 9_000
}

fn price(item: i64) -> String {
    let cents = price_cents(item);
    format!("{}.{:02}", cents / 100, cents % 100)
}
