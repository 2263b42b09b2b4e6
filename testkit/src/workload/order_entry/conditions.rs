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
