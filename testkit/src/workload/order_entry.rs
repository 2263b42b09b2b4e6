//! Order entry after the manner of TPC-C: warehouses take orders, payments and deliveries, with
//! the invariants of that benchmark ([`conditions`]) kept by every transaction.
//!
//! It is not the benchmark: customers change their keys, orders are cancelled, stock is adjusted
//! by set-based statements, and the columns have the types that a migration meets.

pub mod conditions;
mod plans;
mod populate;
mod schema;

use rand::Rng;
use rand::rngs::StdRng;

pub use plans::OrderEntryPlan;
pub use schema::SHAPE;

use crate::shape::Table;
use crate::workload::Workload;

/// Districts of a warehouse.
const DISTRICTS: i64 = 5;

/// The workload.
#[derive(Clone, Debug)]
pub struct OrderEntry {
    warehouses: i64,
    customers: i64,
    items: i64,
}

impl OrderEntry {
    /// `scale` warehouses (at least one), each with 5 districts of 30 customers, and 100 items.
    pub fn new(scale: u32) -> Self {
        OrderEntry { warehouses: i64::from(scale.max(1)), customers: 30, items: 100 }
    }
}

impl Workload for OrderEntry {
    type Plan = OrderEntryPlan;

    fn tables(&self) -> Vec<Table> {
        schema::tables()
    }

    fn initial(&self, rng: &mut StdRng) -> Vec<OrderEntryPlan> {
        populate::plans(self, rng)
    }

    fn next(&self, _slot: usize, rng: &mut StdRng) -> OrderEntryPlan {
        let district = plans::District {
            warehouse: rng.random_range(1..=self.warehouses),
            district: rng.random_range(1..=DISTRICTS),
        };
        match rng.random_range(0..100) {
            0..45 => self.new_order(district, rng),
            45..80 => self.payment(district, rng),
            80..86 => OrderEntryPlan::delivery(district.warehouse, rng),
            86..90 => self.adjust_stock(district.warehouse, rng),
            90..94 => OrderEntryPlan::cancellation(district),
            94..97 => self.key_change(district, rng),
            _ => self.profile_change(district, rng),
        }
    }
}
