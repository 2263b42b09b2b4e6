//! The work of the comparison: a shop that takes orders and ships them, made to be written quickly.
//!
//! The general workloads read back what they did, which the oracle needs and which takes ten round
//! trips a transaction. Here one session numbers all transactions and knows every value it writes, so
//! that a transaction is one piece of T-SQL and many go in one batch. What must hold in every
//! committed state is in [`CONDITIONS`].

use std::collections::VecDeque;
use std::fmt::Write as _;

use rand::rngs::StdRng;
use rand::seq::index;
use rand::{Rng, SeedableRng};

use crate::shape::Type::{
    BigInt, Bit, Date, DateTime, DateTime2, DateTimeOffset, Decimal, Float, Int, Money, NVarChar,
    NVarCharMax, Real, SmallDateTime, SmallInt, SmallMoney, Time, TinyInt, UniqueIdentifier,
    VarBinary, VarChar,
};
use crate::shape::{Table, column, nullable};
use crate::workload::literal;
use crate::workload::order_entry::conditions::Condition;

pub(super) const CUSTOMERS: i64 = 500;
pub(super) const ITEMS: i64 = 1000;
/// Rows of one INSERT when the tables are filled.
const AT_ONCE: i64 = 50;

/// The tables. Everything that a transaction inserts is keyed by its number, so that the newest key
/// of a table tells how far it has come.
pub(super) fn tables() -> Vec<Table> {
    vec![
        Table::keyed(
            "journal",
            1,
            vec![column("n", BigInt), column("kind", VarChar(12)), column("made", DateTime2(3))],
        ),
        Table::keyed(
            "customers",
            1,
            vec![
                column("id", Int),
                column("guid", UniqueIdentifier),
                column("name", NVarChar(60)),
                column("orders", Int),
                column("balance", Decimal(18, 2)),
                column("since", DateTimeOffset(7)),
                column("valid_until", DateTime2(7)),
                nullable("born", Date),
                column("rating", Real),
                column("active", Bit),
                column("opens", Time(7)),
                nullable("notes", NVarCharMax),
            ],
        ),
        Table::keyed(
            "orders",
            1,
            vec![
                column("id", BigInt),
                column("customer", Int),
                column("placed", DateTime2(7)),
                column("state", TinyInt),
                column("line_count", SmallInt),
                column("total", Money),
                column("reference", UniqueIdentifier),
                nullable("note", NVarChar(200)),
            ],
        ),
        Table::keyed(
            "lines",
            2,
            vec![
                column("order_id", BigInt),
                column("line", TinyInt),
                column("item", Int),
                column("quantity", SmallInt),
                column("price", SmallMoney),
                column("amount", Decimal(18, 2)),
                column("weight", Float),
                nullable("shipped", SmallDateTime),
                column("mark", VarBinary(16)),
            ],
        ),
        Table::keyed("open_orders", 1, vec![column("order_id", BigInt)]),
        Table::keyed(
            "stock",
            1,
            vec![
                column("item", Int),
                column("quantity", Int),
                column("sold", BigInt),
                nullable("counted", DateTime),
            ],
        ),
    ]
}

/// What holds in every committed state.
pub(super) const CONDITIONS: &[Condition] = &[
    Condition {
        name: "an order has the lines it says, and their sum",
        sql: "SELECT count(*) FROM dbo.orders FULL JOIN \
              (SELECT order_id, count(*) AS n, sum(amount) AS s FROM dbo.lines GROUP BY 1) l \
              ON order_id = id WHERE line_count IS DISTINCT FROM n OR total IS DISTINCT FROM s",
    },
    Condition {
        name: "an order is open until it is shipped",
        sql: "SELECT count(*) FROM dbo.orders FULL JOIN dbo.open_orders ON order_id = id \
              WHERE id IS NULL OR (state = 0) <> (order_id IS NOT NULL)",
    },
    Condition {
        name: "a line is shipped with its order",
        sql: "SELECT count(*) FROM dbo.lines JOIN dbo.orders ON id = order_id \
              WHERE (shipped IS NULL) <> (state = 0)",
    },
    Condition {
        name: "a customer has the orders it counts, and owes what was shipped",
        sql: "SELECT count(*) FROM dbo.customers c LEFT JOIN (SELECT customer, count(*) AS n, \
              sum(total) FILTER (WHERE state = 1) AS s FROM dbo.orders GROUP BY 1) o \
              ON customer = c.id WHERE orders <> coalesce(n, 0) OR balance <> coalesce(s, 0)",
    },
    Condition {
        name: "stock sold is what the lines say",
        sql: "SELECT count(*) FROM dbo.stock s LEFT JOIN (SELECT item, sum(quantity) AS n \
              FROM dbo.lines GROUP BY 1) l ON l.item = s.item WHERE sold <> coalesce(n, 0)",
    },
    Condition {
        name: "every order is in the journal",
        sql: "SELECT count(*) FROM dbo.orders FULL JOIN \
              (SELECT n FROM dbo.journal WHERE kind = 'order') j ON n = id \
              WHERE id IS NULL OR n IS NULL",
    },
];

/// Numbers that the tables have when everything written so far is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// Transactions, and rows of `journal`.
    pub(super) transactions: i64,
    /// Rows written or removed by them and by filling the tables.
    pub(super) changes: u64,
    orders: i64,
    lines: i64,
    open: i64,
    sold: i64,
}

impl Totals {
    /// Query that is true in a target that has everything.
    pub(super) fn reached_sql(&self) -> String {
        let Totals { transactions, orders, lines, open, sold, .. } = self;
        format!(
            "SELECT (SELECT count(*) FROM dbo.journal) = {transactions} \
             AND (SELECT count(*) FROM dbo.orders) = {orders} \
             AND (SELECT count(*) FROM dbo.lines) = {lines} \
             AND (SELECT count(shipped) FROM dbo.lines) = (SELECT coalesce(sum(line_count), 0) \
                FROM dbo.orders WHERE state = 1) \
             AND (SELECT count(*) FROM dbo.orders WHERE state = 0) = {open} \
             AND (SELECT count(*) FROM dbo.open_orders) = {open} \
             AND (SELECT sum(orders) FROM dbo.customers) = {orders} \
             AND (SELECT sum(sold) FROM dbo.stock) = {sold}"
        )
    }
}

/// An order that was not shipped.
struct Open {
    id: i64,
    customer: i64,
    lines: i64,
    cents: i64,
}

/// Writes the shop's transactions.
pub(super) struct Shop {
    rng: StdRng,
    open: VecDeque<Open>,
    totals: Totals,
}

impl Shop {
    pub(super) fn new(seed: u64) -> Self {
        Shop { rng: StdRng::seed_from_u64(seed), open: VecDeque::new(), totals: Totals::default() }
    }

    pub(super) fn totals(&self) -> Totals {
        self.totals
    }

    /// Statements that fill customers and stock.
    pub(super) fn fill(&mut self) -> Vec<String> {
        let mut statements = Vec::new();
        for first in (1..=CUSTOMERS).step_by(AT_ONCE as usize) {
            let rows: Vec<String> = (first..first + AT_ONCE).map(|id| self.customer(id)).collect();
            statements.push(format!("INSERT dbo.customers VALUES {}", rows.join(", ")));
        }
        for first in (1..=ITEMS).step_by(AT_ONCE as usize) {
            let row = |item| format!("({item}, 100000, 0, NULL)");
            let rows: Vec<String> = (first..first + AT_ONCE).map(row).collect();
            statements.push(format!("INSERT dbo.stock VALUES {}", rows.join(", ")));
        }
        self.totals.changes += (CUSTOMERS + ITEMS) as u64;
        statements
    }

    fn customer(&mut self, id: i64) -> String {
        let mut random = |ty| literal::random(ty, &mut self.rng);
        format!(
            "({id}, {}, {}, 0, 0, {}, {}, {}, {}, {}, {}, {})",
            random(UniqueIdentifier),
            random(NVarChar(60)),
            moment("2010", id, "+05:30"),
            // What many schemas write for no end.
            if id % 4 == 0 {
                moment("2035", id, "")
            } else {
                "'9999-12-31 23:59:59.9999999'".into()
            },
            if id % 5 == 0 { "NULL".to_owned() } else { "'1980-02-29'".to_owned() },
            format_args!("{}.25", id % 10),
            id % 2,
            random(Time(7)),
            if id % 3 == 0 { "NULL".to_owned() } else { random(NVarCharMax) },
        )
    }

    /// The next transaction's T-SQL, and whether it is an order.
    pub(super) fn next(&mut self) -> (String, bool) {
        self.totals.transactions += 1;
        let n = self.totals.transactions;
        let ship = self.rng.random_ratio(2, 5);
        match ship.then(|| self.open.pop_front()).flatten() {
            Some(open) => (self.ship(n, &open), false),
            None => (self.order(n), true),
        }
    }

    fn order(&mut self, n: i64) -> String {
        let customer = self.rng.random_range(1..=CUSTOMERS);
        let count = self.rng.random_range(1..=3);
        let mut items = index::sample(&mut self.rng, ITEMS as usize, count).into_vec();
        items.sort_unstable();
        let (mut rows, mut stock, mut total, mut sold) = (Vec::new(), String::new(), 0, 0);
        for (line, item) in (1..).zip(items) {
            let (item, quantity) = (item as i64 + 1, self.rng.random_range(1..=9));
            let price = 100 + item * 3707 % 9000;
            total += price * quantity;
            sold += quantity;
            rows.push(format!(
                "({n}, {line}, {item}, {quantity}, {}, {}, {item}.125e0, NULL, 0x{n:012X}{line:02X})",
                money(price),
                money(price * quantity)
            ));
            let _ = write!(
                stock,
                "UPDATE dbo.stock SET quantity = quantity - {quantity}, sold = sold + {quantity}, \
                 counted = '2026-11-01T10:00:{:02}.{:03}' WHERE item = {item};",
                n % 60,
                n % 1000
            );
        }
        let note = if n % 3 == 0 {
            "NULL".to_owned()
        } else {
            literal::random(NVarChar(40), &mut self.rng)
        };
        let reference = literal::random(UniqueIdentifier, &mut self.rng);
        let lines = rows.len() as i64;
        self.totals.orders += 1;
        self.totals.open += 1;
        self.totals.lines += lines;
        self.totals.sold += sold;
        self.totals.changes += 4 + 2 * lines as u64;
        self.open.push_back(Open { id: n, customer, lines, cents: total });
        format!(
            "BEGIN TRANSACTION; INSERT dbo.orders VALUES ({n}, {customer}, {}, 0, {lines}, {}, \
             {reference}, {note}); INSERT dbo.lines VALUES {}; {stock} \
             UPDATE dbo.customers SET orders = orders + 1 WHERE id = {customer}; \
             INSERT dbo.open_orders VALUES ({n}); {} COMMIT TRANSACTION;",
            moment("2026", n, ""),
            money(total),
            rows.join(", "),
            journal(n, "order"),
        )
    }

    fn ship(&mut self, n: i64, open: &Open) -> String {
        let Open { id, customer, lines, cents } = *open;
        self.totals.open -= 1;
        self.totals.changes += 4 + lines as u64;
        format!(
            "BEGIN TRANSACTION; UPDATE dbo.orders SET state = 1 WHERE id = {id}; \
             UPDATE dbo.lines SET shipped = '2026-11-02T08:{:02}:00' WHERE order_id = {id}; \
             DELETE dbo.open_orders WHERE order_id = {id}; \
             UPDATE dbo.customers SET balance = balance + {} WHERE id = {customer}; \
             {} COMMIT TRANSACTION;",
            n % 60,
            money(cents),
            journal(n, "shipment"),
        )
    }
}

fn journal(n: i64, kind: &str) -> String {
    format!(
        "INSERT dbo.journal VALUES ({n}, '{kind}', '2026-11-01 10:{:02}:30.{:03}');",
        n % 60,
        n % 1000
    )
}

fn money(cents: i64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

/// A moment of the year with all seven digits.
fn moment(year: &str, n: i64, offset: &str) -> String {
    let space = if offset.is_empty() { "" } else { " " };
    format!(
        "'{year}-{:02}-{:02} {:02}:{:02}:07.{:07}{space}{offset}'",
        n % 12 + 1,
        n % 28 + 1,
        n % 24,
        n % 60,
        n * 1_234_567 % 10_000_000
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_are_of_five_to_ten_changes_and_the_same_for_a_seed() {
        let (mut one, mut two) = (Shop::new(7), Shop::new(7));
        let mut shipped = 0;
        for n in 1..=2000 {
            let before = one.totals().changes;
            let (sql, order) = one.next();
            assert_eq!((&sql, order), (&two.next().0, order));
            let changes = one.totals().changes - before;
            assert!((5..=10).contains(&changes), "transaction {n} has {changes}: {sql}");
            shipped += usize::from(!order);
        }
        assert!((500..1000).contains(&shipped), "{shipped} of 2000 are shipments");
        let totals = one.totals();
        assert_eq!(totals.transactions, 2000);
        assert_eq!(totals.open, totals.orders - shipped as i64);
    }
}
