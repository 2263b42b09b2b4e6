//! The transactions.
//!
//! What makes their recorded effects exact: a row is declared touched only after a statement of
//! ours has changed it (it is locked until we commit) or under the lock of the row that guards it:
//! orders and lines are made under their district's row, and everything that mentions a customer is
//! written under that customer's row.

use anyhow::{Context, Result};
use rand::Rng;
use rand::rngs::StdRng;

use super::schema::{
    CUSTOMERS, DISTRICTS, NEW_ORDERS, ORDER_LINES, ORDERS, PAYMENTS, STOCK, WAREHOUSES,
};
use super::{OrderEntry, populate};
use crate::session::{End, Plan, Transaction};
use crate::shape::{Key, Type};
use crate::source::integer;
use crate::workload::literal;

/// A customer has two numbers, `n` and `n + OTHER`, and changes between them.
const OTHER: i64 = 1000;

/// A district of a warehouse.
#[derive(Clone, Copy, Debug)]
pub(super) struct District {
    pub(super) warehouse: i64,
    pub(super) district: i64,
}

impl District {
    fn key(self) -> Key {
        Key::of([self.warehouse, self.district])
    }

    fn with(self, id: i64) -> Key {
        Key::of([self.warehouse, self.district, id])
    }

    /// Condition that picks its own row.
    fn itself(self) -> String {
        format!("d_w_id = {} AND d_id = {}", self.warehouse, self.district)
    }

    /// Condition on columns `<prefix>_w_id` and `<prefix>_d_id`.
    fn is(self, prefix: &str) -> String {
        format!("{prefix}_w_id = {} AND {prefix}_d_id = {}", self.warehouse, self.district)
    }
}

/// A customer by the lower of its two numbers.
#[derive(Clone, Copy, Debug)]
struct Customer {
    home: District,
    number: i64,
}

impl Customer {
    /// Changes the customer and returns the number it has; none when it is in the middle of a key
    /// change and could not be found.
    async fn update(self, tx: &mut Transaction<'_>, set: &str) -> Result<Option<i64>> {
        let condition =
            format!("{} AND c_id IN ({}, {})", self.home.is("c"), self.number, self.number + OTHER);
        if tx.execute(&format!("UPDATE dbo.customers SET {set} WHERE {condition}")).await? != 1 {
            return Ok(None);
        }
        let id = tx
            .integer(&format!("SELECT c_id FROM dbo.customers WHERE {condition}"))
            .await?
            .context("a customer just updated is there")?;
        tx.touch(CUSTOMERS, self.home.with(id));
        Ok(Some(id))
    }
}

#[derive(Clone, Copy, Debug)]
struct Line {
    item: i64,
    quantity: i64,
}

/// One transaction of the order entry workload.
#[derive(Clone, Debug)]
pub struct OrderEntryPlan(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Populate { sql: String, keys: Vec<(usize, Key)> },
    NewOrder { customer: Customer, lines: Vec<Line>, entered: String, comment: String, end: End },
    Payment { customer: Customer, cents: i64, at: String, memo: String, end: End },
    Delivery { warehouse: i64, carrier: i64, at: String },
    AdjustStock { warehouse: i64, items: (i64, i64), by: i64, at: String },
    Cancellation { district: District },
    KeyChange { customer: Customer },
    ProfileChange { customer: Customer, set: String },
}

impl OrderEntryPlan {
    pub(super) fn populate(sql: String, keys: Vec<(usize, Key)>) -> Self {
        OrderEntryPlan(Kind::Populate { sql, keys })
    }

    pub(super) fn delivery(warehouse: i64, rng: &mut StdRng) -> Self {
        let (carrier, at) = (rng.random_range(1..=10), literal::random(Type::SmallDateTime, rng));
        OrderEntryPlan(Kind::Delivery { warehouse, carrier, at })
    }

    pub(super) fn cancellation(district: District) -> Self {
        OrderEntryPlan(Kind::Cancellation { district })
    }
}

impl OrderEntry {
    fn customer(&self, home: District, rng: &mut StdRng) -> Customer {
        Customer { home, number: rng.random_range(1..=self.customers) }
    }

    pub(super) fn new_order(&self, home: District, rng: &mut StdRng) -> OrderEntryPlan {
        let mut lines: Vec<Line> = (0..rng.random_range(3..=12))
            .map(|_| Line {
                item: rng.random_range(1..=self.items),
                quantity: rng.random_range(1..=10),
            })
            .collect();
        // In one order, each item once; everybody locks stock in the same order.
        lines.sort_by_key(|line| line.item);
        lines.dedup_by_key(|line| line.item);
        let comment = optional(Type::NVarCharMax, rng);
        OrderEntryPlan(Kind::NewOrder {
            customer: self.customer(home, rng),
            lines,
            entered: literal::random(Type::DateTime2(3), rng),
            comment,
            end: one_in(50, rng),
        })
    }

    pub(super) fn payment(&self, home: District, rng: &mut StdRng) -> OrderEntryPlan {
        OrderEntryPlan(Kind::Payment {
            customer: self.customer(home, rng),
            cents: rng.random_range(100..500_000),
            at: literal::random(Type::DateTime2(7), rng),
            memo: optional(Type::VarChar(60), rng),
            end: one_in(50, rng),
        })
    }

    pub(super) fn adjust_stock(&self, warehouse: i64, rng: &mut StdRng) -> OrderEntryPlan {
        let first = rng.random_range(1..=self.items);
        let last = (first + rng.random_range(5..40)).min(self.items);
        OrderEntryPlan(Kind::AdjustStock {
            warehouse,
            items: (first, last),
            by: rng.random_range(-20..=20),
            at: literal::random(Type::DateTime, rng),
        })
    }

    pub(super) fn key_change(&self, home: District, rng: &mut StdRng) -> OrderEntryPlan {
        OrderEntryPlan(Kind::KeyChange { customer: self.customer(home, rng) })
    }

    pub(super) fn profile_change(&self, home: District, rng: &mut StdRng) -> OrderEntryPlan {
        let columns = [
            ("c_guid", Type::UniqueIdentifier),
            ("c_name", Type::NVarChar(40)),
            ("c_credit", Type::Char(2)),
            ("c_discount", Type::Real),
            ("c_since", Type::DateTimeOffset(7)),
            ("c_birth", Type::Date),
            ("c_score", Type::Float),
            ("c_notes", Type::NVarCharMax),
            ("c_photo", Type::VarBinaryMax),
        ];
        let set: Vec<String> = columns
            .into_iter()
            .filter(|_| rng.random_ratio(1, 3))
            .collect::<Vec<_>>()
            .into_iter()
            .map(|(name, ty)| format!("{name} = {}", literal::random(ty, rng)))
            .collect();
        let set = if set.is_empty() { "c_notes = NULL".to_owned() } else { set.join(", ") };
        OrderEntryPlan(Kind::ProfileChange { customer: self.customer(home, rng), set })
    }
}

fn optional(ty: Type, rng: &mut StdRng) -> String {
    if rng.random_ratio(1, 4) { "NULL".to_owned() } else { literal::random(ty, rng) }
}

fn one_in(n: u32, rng: &mut StdRng) -> End {
    if rng.random_ratio(1, n) { End::Rollback } else { End::Commit }
}

impl Plan for OrderEntryPlan {
    fn kind(&self) -> &'static str {
        match &self.0 {
            Kind::Populate { .. } => "populate",
            Kind::NewOrder { .. } => "new order",
            Kind::Payment { .. } => "payment",
            Kind::Delivery { .. } => "delivery",
            Kind::AdjustStock { .. } => "adjust stock",
            Kind::Cancellation { .. } => "cancellation",
            Kind::KeyChange { .. } => "customer key change",
            Kind::ProfileChange { .. } => "customer profile",
        }
    }

    async fn execute(&self, tx: &mut Transaction<'_>) -> Result<End> {
        match &self.0 {
            Kind::Populate { sql, keys } => {
                tx.run(sql).await?;
                for (table, key) in keys {
                    tx.touch(*table, key.clone());
                }
                Ok(End::Commit)
            }
            Kind::NewOrder { customer, lines, entered, comment, end } => {
                new_order(tx, *customer, lines, entered, comment).await.map(|made| made.and(*end))
            }
            Kind::Payment { customer, cents, at, memo, end } => {
                payment(tx, *customer, *cents, at, memo).await.map(|made| made.and(*end))
            }
            Kind::Delivery { warehouse, carrier, at } => {
                delivery(tx, *warehouse, *carrier, at).await
            }
            Kind::AdjustStock { warehouse, items, by, at } => {
                adjust_stock(tx, *warehouse, *items, *by, at).await
            }
            Kind::Cancellation { district } => cancellation(tx, *district).await,
            Kind::KeyChange { customer } => key_change(tx, *customer).await,
            Kind::ProfileChange { customer, set } => {
                Ok(customer.update(tx, set).await?.map_or(End::Rollback, |_| End::Commit))
            }
        }
    }
}

impl End {
    /// Commits only where both do.
    fn and(self, other: End) -> End {
        if self == End::Commit { other } else { self }
    }
}

async fn new_order(
    tx: &mut Transaction<'_>,
    customer: Customer,
    lines: &[Line],
    entered: &str,
    comment: &str,
) -> Result<End> {
    let home = customer.home;
    let (w, d) = (home.warehouse, home.district);
    let at_home = home.itself();
    tx.run(&format!("UPDATE dbo.districts SET d_next_o_id = d_next_o_id + 1 WHERE {at_home}"))
        .await?;
    tx.touch(DISTRICTS, home.key());
    let next = format!("SELECT d_next_o_id FROM dbo.districts WHERE {at_home}");
    let order = tx.integer(&next).await?.context("the district is there")? - 1;
    let Some(c_id) = customer.update(tx, "c_orders = c_orders + 1").await? else {
        return Ok(End::Rollback);
    };
    let count = lines.len();
    let mut statements = vec![
        format!(
            "INSERT INTO dbo.orders (o_w_id, o_d_id, o_id, o_c_id, o_lines, o_carrier, o_entered, \
             o_comment) VALUES ({w}, {d}, {order}, {c_id}, {count}, NULL, {entered}, {comment})"
        ),
        format!("INSERT INTO dbo.new_orders VALUES ({w}, {d}, {order})"),
    ];
    tx.touch(ORDERS, home.with(order));
    tx.touch(NEW_ORDERS, home.with(order));
    for (number, line) in (1i64..).zip(lines) {
        let Line { item, quantity } = *line;
        let amount = cents(populate::price_cents(item) * quantity);
        statements.push(format!(
            "INSERT INTO dbo.order_lines VALUES \
             ({w}, {d}, {order}, {number}, {item}, {quantity}, {amount}, NULL, 0x{order:08X}{number:02X})"
        ));
        statements.push(format!(
            "UPDATE dbo.stock SET s_sold = s_sold + {quantity}, s_quantity = CASE \
             WHEN s_quantity >= {quantity} + 10 THEN s_quantity - {quantity} \
             ELSE s_quantity - {quantity} + 91 END WHERE s_w_id = {w} AND s_i_id = {item}"
        ));
        tx.touch(ORDER_LINES, Key::of([w, d, order, number]));
        tx.touch(STOCK, Key::of([w, item]));
    }
    tx.run(&statements.join(";\n")).await?;
    Ok(End::Commit)
}

async fn payment(
    tx: &mut Transaction<'_>,
    customer: Customer,
    amount: i64,
    at: &str,
    memo: &str,
) -> Result<End> {
    let home = customer.home;
    let (w, d) = (home.warehouse, home.district);
    let amount = cents(amount);
    tx.run(&format!(
        "UPDATE dbo.warehouses SET w_ytd = w_ytd + {amount} WHERE w_id = {w};\n\
         UPDATE dbo.districts SET d_ytd = d_ytd + {amount} WHERE {}",
        home.itself()
    ))
    .await?;
    tx.touch(WAREHOUSES, Key::of([w]));
    tx.touch(DISTRICTS, home.key());
    let set = format!("c_balance = c_balance - {amount}, c_payments = c_payments + 1");
    let Some(c_id) = customer.update(tx, &set).await? else {
        return Ok(End::Rollback);
    };
    let tag = tx.tag();
    tx.run(&format!(
        "INSERT INTO dbo.payments VALUES \
         ({}, {}, {w}, {d}, {c_id}, {amount}, {at}, {memo})",
        tag.session, tag.n
    ))
    .await?;
    tx.touch(PAYMENTS, Key::of([tag.session, tag.n]));
    Ok(End::Commit)
}

/// Delivers the oldest new order of every district.
async fn delivery(tx: &mut Transaction<'_>, warehouse: i64, carrier: i64, at: &str) -> Result<End> {
    for district in 1..=super::DISTRICTS {
        let home = District { warehouse, district };
        let oldest = format!("SELECT MIN(no_o_id) FROM dbo.new_orders WHERE {}", home.is("no"));
        let Some(order) = tx.integer(&oldest).await? else { continue };
        if !take_new_order(tx, home, order).await? {
            continue;
        }
        let lines = format!("{} AND ol_o_id = {order}", home.is("ol"));
        tx.run(&format!(
            "UPDATE dbo.orders SET o_carrier = {carrier} WHERE {} AND o_id = {order};\n\
             UPDATE dbo.order_lines SET ol_delivered = {at} WHERE {lines}",
            home.is("o")
        ))
        .await?;
        tx.touch(ORDERS, home.with(order));
        touch_lines(tx, home, order).await?;
        let total = format!(
            "SELECT CAST(SUM(ol_amount) * 100 AS bigint) FROM dbo.order_lines WHERE {lines}"
        );
        let total = cents(tx.integer(&total).await?.context("an order has lines")?);
        let c_id = customer_of(tx, home, order).await?;
        let customer = Customer { home, number: c_id % OTHER };
        if customer.update(tx, &format!("c_balance = c_balance + {total}")).await?.is_none() {
            return Ok(End::Rollback);
        }
    }
    Ok(End::Commit)
}

async fn adjust_stock(
    tx: &mut Transaction<'_>,
    warehouse: i64,
    (first, last): (i64, i64),
    by: i64,
    at: &str,
) -> Result<End> {
    tx.run(&format!(
        "UPDATE dbo.stock SET s_quantity = s_quantity + {by}, s_counted = {at} \
         WHERE s_w_id = {warehouse} AND s_i_id BETWEEN {first} AND {last}"
    ))
    .await?;
    for item in first..=last {
        tx.touch(STOCK, Key::of([warehouse, item]));
    }
    Ok(End::Commit)
}

/// Takes back the newest order that is still new, but never a district's newest: its number is what
/// the district's counter is checked against.
async fn cancellation(tx: &mut Transaction<'_>, home: District) -> Result<End> {
    let next = format!("SELECT d_next_o_id FROM dbo.districts WHERE {}", home.itself());
    let next = tx.integer(&next).await?.context("the district is there")?;
    let candidate = format!(
        "SELECT MAX(no_o_id) FROM dbo.new_orders WHERE {} AND no_o_id < {}",
        home.is("no"),
        next - 1
    );
    let Some(order) = tx.integer(&candidate).await? else { return Ok(End::Rollback) };
    if !take_new_order(tx, home, order).await? {
        return Ok(End::Rollback);
    }
    let one = format!("{} AND o_id = {order}", home.is("o"));
    // Locks the order, so that its customer's number cannot change under us.
    tx.run(&format!("UPDATE dbo.orders SET o_comment = N'cancelled' WHERE {one}")).await?;
    let c_id = customer_of(tx, home, order).await?;
    let customer = Customer { home, number: c_id % OTHER };
    if customer.update(tx, "c_orders = c_orders - 1").await?.is_none() {
        return Ok(End::Rollback);
    }
    give_back_stock(tx, home, order).await?;
    touch_lines(tx, home, order).await?;
    tx.run(&format!(
        "DELETE FROM dbo.order_lines WHERE {} AND ol_o_id = {order};\n\
         DELETE FROM dbo.orders WHERE {one}",
        home.is("ol")
    ))
    .await?;
    tx.touch(ORDERS, home.with(order));
    Ok(End::Commit)
}

async fn give_back_stock(tx: &mut Transaction<'_>, home: District, order: i64) -> Result<()> {
    let lines = format!(
        "SELECT ol_i_id, ol_quantity FROM dbo.order_lines WHERE {} AND ol_o_id = {order} \
         ORDER BY ol_i_id",
        home.is("ol")
    );
    let mut updates = Vec::new();
    for row in tx.connection().rows(&lines).await? {
        let item = integer(&row, 0)?.context("a line has an item")?;
        let quantity = integer(&row, 1)?.context("a line has a quantity")?;
        updates.push(format!(
            "UPDATE dbo.stock SET s_sold = s_sold - {quantity}, s_quantity = s_quantity + {quantity} \
             WHERE s_w_id = {} AND s_i_id = {item}",
            home.warehouse
        ));
        tx.touch(STOCK, Key::of([home.warehouse, item]));
    }
    tx.run(&updates.join(";\n")).await
}

/// Moves a customer to its other number, with everything that mentions it.
async fn key_change(tx: &mut Transaction<'_>, customer: Customer) -> Result<End> {
    let home = customer.home;
    let Some(old) = customer.update(tx, "c_notes = N'moving'").await? else {
        return Ok(End::Rollback);
    };
    let new = if old < OTHER { old + OTHER } else { old - OTHER };
    tx.run(&format!(
        "UPDATE dbo.customers SET c_id = {new} WHERE {} AND c_id = {old};\n\
         UPDATE dbo.orders SET o_c_id = {new} WHERE {} AND o_c_id = {old};\n\
         UPDATE dbo.payments SET p_c_id = {new} WHERE {} AND p_c_id = {old}",
        home.is("c"),
        home.is("o"),
        home.is("p")
    ))
    .await?;
    tx.touch(CUSTOMERS, home.with(new));
    let orders = format!("SELECT o_id FROM dbo.orders WHERE {} AND o_c_id = {new}", home.is("o"));
    for row in tx.connection().rows(&orders).await? {
        tx.touch(ORDERS, home.with(integer(&row, 0)?.context("an order has a number")?));
    }
    let payments = format!(
        "SELECT p_session, p_n FROM dbo.payments WHERE {} AND p_c_id = {new}",
        home.is("p")
    );
    for row in tx.connection().rows(&payments).await? {
        let session = integer(&row, 0)?.context("a payment has a session")?;
        let n = integer(&row, 1)?.context("a payment has a number")?;
        tx.touch(PAYMENTS, Key::of([session, n]));
    }
    Ok(End::Commit)
}

/// Deletes a new order's row; false when another session was faster.
async fn take_new_order(tx: &mut Transaction<'_>, home: District, order: i64) -> Result<bool> {
    let delete =
        format!("DELETE FROM dbo.new_orders WHERE {} AND no_o_id = {order}", home.is("no"));
    Ok(tx.change(NEW_ORDERS, home.with(order), &delete).await? > 0)
}

async fn customer_of(tx: &mut Transaction<'_>, home: District, order: i64) -> Result<i64> {
    let select = format!("SELECT o_c_id FROM dbo.orders WHERE {} AND o_id = {order}", home.is("o"));
    tx.integer(&select).await?.context("a locked order is there")
}

async fn touch_lines(tx: &mut Transaction<'_>, home: District, order: i64) -> Result<()> {
    let lines = format!("SELECT o_lines FROM dbo.orders WHERE {} AND o_id = {order}", home.is("o"));
    let lines = tx.integer(&lines).await?.context("a locked order is there")?;
    for number in 1..=lines {
        tx.touch(ORDER_LINES, Key::of([home.warehouse, home.district, order, number]));
    }
    Ok(())
}

/// An amount as a T-SQL literal.
fn cents(amount: i64) -> String {
    format!("{}.{:02}", amount / 100, amount % 100)
}
