//! What holds in every committed state of the order entry tables, as queries on the target. Each
//! gives the number of places where it does not hold.

/// One condition.
#[derive(Clone, Copy, Debug)]
pub struct Condition {
    /// What must hold.
    pub name: &'static str,
    /// PostgreSQL query that counts violations.
    pub sql: &'static str,
}

/// All of them. TPC-C clause 3.3.2 is the model; cancellations and key changes are allowed for.
pub const CONDITIONS: &[Condition] = &[
    Condition {
        name: "a warehouse's year-to-date is the sum of its districts'",
        sql: "SELECT count(*) FROM dbo.warehouses w WHERE w_ytd <> \
              coalesce((SELECT sum(d_ytd) FROM dbo.districts WHERE d_w_id = w_id), 0)",
    },
    Condition {
        name: "a district's year-to-date is the sum of its payments",
        sql: "SELECT count(*) FROM dbo.districts d LEFT JOIN \
              (SELECT p_w_id, p_d_id, sum(p_amount) AS paid FROM dbo.payments GROUP BY 1, 2) p \
              ON p_w_id = d_w_id AND p_d_id = d_id WHERE d_ytd <> coalesce(paid, 0)",
    },
    Condition {
        name: "a district's next order number is one above its newest order",
        sql: "SELECT count(*) FROM dbo.districts d LEFT JOIN \
              (SELECT o_w_id, o_d_id, max(o_id) AS newest FROM dbo.orders GROUP BY 1, 2) o \
              ON o_w_id = d_w_id AND o_d_id = d_id WHERE d_next_o_id <> coalesce(newest, 0) + 1",
    },
    Condition {
        name: "an order has the lines it says",
        sql: "SELECT count(*) FROM dbo.orders FULL JOIN \
              (SELECT ol_w_id, ol_d_id, ol_o_id, count(*) AS lines FROM dbo.order_lines \
               GROUP BY 1, 2, 3) l ON ol_w_id = o_w_id AND ol_d_id = o_d_id AND ol_o_id = o_id \
              WHERE o_lines IS DISTINCT FROM lines",
    },
    Condition {
        name: "an order is new exactly when it has no carrier",
        sql: "SELECT count(*) FROM dbo.orders FULL JOIN dbo.new_orders \
              ON no_w_id = o_w_id AND no_d_id = o_d_id AND no_o_id = o_id \
              WHERE o_id IS NULL OR (o_carrier IS NULL) <> (no_o_id IS NOT NULL)",
    },
    Condition {
        name: "a line is delivered exactly when its order is",
        sql: "SELECT count(*) FROM dbo.order_lines JOIN dbo.orders \
              ON o_w_id = ol_w_id AND o_d_id = ol_d_id AND o_id = ol_o_id \
              WHERE (ol_delivered IS NULL) <> (o_carrier IS NULL)",
    },
    Condition {
        name: "a customer's balance is delivered goods less payments",
        sql: "SELECT count(*) FROM dbo.customers c \
              LEFT JOIN (SELECT o_w_id, o_d_id, o_c_id, sum(ol_amount) AS bought \
                FROM dbo.orders JOIN dbo.order_lines \
                ON ol_w_id = o_w_id AND ol_d_id = o_d_id AND ol_o_id = o_id \
                WHERE o_carrier IS NOT NULL GROUP BY 1, 2, 3) o \
              ON o_w_id = c_w_id AND o_d_id = c_d_id AND o_c_id = c_id \
              LEFT JOIN (SELECT p_w_id, p_d_id, p_c_id, sum(p_amount) AS paid \
                FROM dbo.payments GROUP BY 1, 2, 3) p \
              ON p_w_id = c_w_id AND p_d_id = c_d_id AND p_c_id = c_id \
              WHERE c_balance <> coalesce(bought, 0) - coalesce(paid, 0)",
    },
    Condition {
        name: "a customer has the orders and payments it counts",
        sql: "SELECT count(*) FROM dbo.customers c \
              LEFT JOIN (SELECT o_w_id, o_d_id, o_c_id, count(*) AS n FROM dbo.orders \
                GROUP BY 1, 2, 3) o ON o_w_id = c_w_id AND o_d_id = c_d_id AND o_c_id = c_id \
              LEFT JOIN (SELECT p_w_id, p_d_id, p_c_id, count(*) AS n FROM dbo.payments \
                GROUP BY 1, 2, 3) p ON p_w_id = c_w_id AND p_d_id = c_d_id AND p_c_id = c_id \
              WHERE c_orders <> coalesce(o.n, 0) OR c_payments <> coalesce(p.n, 0)",
    },
    Condition {
        name: "an order belongs to a customer",
        sql: "SELECT count(*) FROM dbo.orders LEFT JOIN dbo.customers \
              ON c_w_id = o_w_id AND c_d_id = o_d_id AND c_id = o_c_id WHERE c_id IS NULL",
    },
    Condition {
        name: "stock sold is what the order lines say",
        sql: "SELECT count(*) FROM dbo.stock LEFT JOIN \
              (SELECT ol_w_id, ol_i_id, sum(ol_quantity) AS sold FROM dbo.order_lines \
               GROUP BY 1, 2) l ON ol_w_id = s_w_id AND ol_i_id = s_i_id \
              WHERE s_sold <> coalesce(sold, 0)",
    },
];

#[cfg(test)]
mod tests {
    use lockstep_servers::{Postgres, PostgresOptions};

    use super::super::schema;
    use super::*;
    use crate::shape::{Column, Type};

    fn create(postgres: &Postgres) {
        let column = |c: &Column| {
            let ty = match c.ty {
                Type::TinyInt | Type::SmallInt | Type::Int | Type::BigInt => "bigint",
                Type::Decimal(..) | Type::Money | Type::SmallMoney => "numeric",
                _ => "text",
            };
            format!("\"{}\" {ty}", c.name)
        };
        postgres.psql("t", "CREATE SCHEMA dbo").unwrap();
        for table in schema::tables() {
            let columns: Vec<String> = table.columns.iter().map(column).collect();
            let create = format!("CREATE TABLE dbo.\"{}\" ({})", table.name, columns.join(", "));
            postgres.psql("t", &create).unwrap();
        }
    }

    /// One warehouse whose customer has paid 5, got an order of 7 and waits for one of 3.
    const CONSISTENT: &str = "
        INSERT INTO dbo.warehouses (w_id, w_ytd) VALUES (1, 5);
        INSERT INTO dbo.districts (d_w_id, d_id, d_ytd, d_next_o_id) VALUES (1, 1, 5, 3);
        INSERT INTO dbo.customers (c_w_id, c_d_id, c_id, c_balance, c_payments, c_orders)
            VALUES (1, 1, 9, 2, 1, 2);
        INSERT INTO dbo.payments (p_session, p_n, p_w_id, p_d_id, p_c_id, p_amount)
            VALUES (1, 1, 1, 1, 9, 5);
        INSERT INTO dbo.orders (o_w_id, o_d_id, o_id, o_c_id, o_lines, o_carrier)
            VALUES (1, 1, 1, 9, 1, 4), (1, 1, 2, 9, 1, NULL);
        INSERT INTO dbo.new_orders VALUES (1, 1, 2);
        INSERT INTO dbo.order_lines (ol_w_id, ol_d_id, ol_o_id, ol_number, ol_i_id, ol_quantity,
            ol_amount, ol_delivered)
            VALUES (1, 1, 1, 1, 6, 2, 7, 'then'), (1, 1, 2, 1, 6, 1, 3, NULL);
        INSERT INTO dbo.stock (s_w_id, s_i_id, s_quantity, s_sold) VALUES (1, 6, 90, 3)";

    /// Half a transaction each; every condition must be broken by one of them.
    const TORN: &[&str] = &[
        "UPDATE dbo.warehouses SET w_ytd = 6",
        "DELETE FROM dbo.payments",
        "UPDATE dbo.districts SET d_next_o_id = 4",
        "DELETE FROM dbo.order_lines WHERE ol_o_id = 2",
        "DELETE FROM dbo.new_orders",
        "UPDATE dbo.order_lines SET ol_delivered = NULL",
        "UPDATE dbo.customers SET c_balance = 3",
        "UPDATE dbo.customers SET c_orders = 1",
        "UPDATE dbo.customers SET c_id = 1009",
        "UPDATE dbo.stock SET s_sold = 2",
    ];

    #[test]
    fn each_condition_holds_on_whole_transactions_and_breaks_on_a_torn_one() {
        let postgres = Postgres::start(PostgresOptions::default()).unwrap();
        postgres.create_database("t").unwrap();
        create(&postgres);
        let holds = |sql: &str| {
            CONDITIONS
                .iter()
                .map(|c| {
                    let result = postgres.psql("t", &format!("BEGIN; {sql}; {}; ROLLBACK", c.sql));
                    // The count is the last line that any statement printed.
                    result.unwrap().lines().last() == Some("0")
                })
                .collect::<Vec<bool>>()
        };
        assert!(holds("SELECT 1").iter().all(|holds| *holds), "empty tables");
        postgres.psql("t", CONSISTENT).unwrap();
        assert!(holds("SELECT 1").iter().all(|holds| *holds), "consistent tables");

        let mut broken = vec![false; CONDITIONS.len()];
        for torn in TORN {
            let holds = holds(torn);
            assert!(holds.contains(&false), "nothing notices: {torn}");
            broken.iter_mut().zip(holds).for_each(|(broken, holds)| *broken |= !holds);
        }
        let never: Vec<&str> =
            CONDITIONS.iter().zip(broken).filter(|(_, b)| !b).map(|(c, _)| c.name).collect();
        assert!(never.is_empty(), "never broken: {never:?}");
    }
}
