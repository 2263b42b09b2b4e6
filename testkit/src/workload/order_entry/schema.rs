//! The tables, with the types of a real schema mixed in.

use crate::shape::Type::{
    BigInt, Binary, Bit, Char, Date, DateTime, DateTime2, DateTimeOffset, Decimal, Float, Int,
    Money, NChar, NVarChar, NVarCharMax, Real, SmallDateTime, SmallInt, SmallMoney, Time, TinyInt,
    UniqueIdentifier, VarBinary, VarBinaryMax, VarChar,
};
use crate::shape::{Table, column, nullable};

/// Indexes into [`tables`].
pub(super) const WAREHOUSES: usize = 0;
pub(super) const DISTRICTS: usize = 1;
pub(super) const CUSTOMERS: usize = 2;
pub(super) const PAYMENTS: usize = 3;
pub(super) const NEW_ORDERS: usize = 4;
pub(super) const ORDERS: usize = 5;
pub(super) const ORDER_LINES: usize = 6;
pub(super) const ITEMS: usize = 7;
pub(super) const STOCK: usize = 8;

/// Indexes and constraints beside the primary keys. (A customer's number may change while its orders
/// have the old one for a moment, so that no foreign key names it.)
pub const SHAPE: &[&str] = &[
    "ALTER TABLE dbo.districts ADD CONSTRAINT fk_districts_warehouse \
     FOREIGN KEY (d_w_id) REFERENCES dbo.warehouses (w_id)",
    "ALTER TABLE dbo.customers ADD CONSTRAINT fk_customers_district \
     FOREIGN KEY (c_w_id, c_d_id) REFERENCES dbo.districts (d_w_id, d_id)",
    "ALTER TABLE dbo.orders ADD CONSTRAINT fk_orders_district \
     FOREIGN KEY (o_w_id, o_d_id) REFERENCES dbo.districts (d_w_id, d_id)",
    "ALTER TABLE dbo.new_orders ADD CONSTRAINT fk_new_orders_order \
     FOREIGN KEY (no_w_id, no_d_id, no_o_id) REFERENCES dbo.orders (o_w_id, o_d_id, o_id)",
    "ALTER TABLE dbo.order_lines ADD CONSTRAINT fk_order_lines_order \
     FOREIGN KEY (ol_w_id, ol_d_id, ol_o_id) REFERENCES dbo.orders (o_w_id, o_d_id, o_id)",
    "ALTER TABLE dbo.order_lines ADD CONSTRAINT fk_order_lines_item \
     FOREIGN KEY (ol_i_id) REFERENCES dbo.items (i_id)",
    "ALTER TABLE dbo.stock ADD CONSTRAINT fk_stock_item \
     FOREIGN KEY (s_i_id) REFERENCES dbo.items (i_id)",
    "ALTER TABLE dbo.items ADD CONSTRAINT ck_items_price CHECK (i_price > 0)",
    "ALTER TABLE dbo.order_lines ADD CONSTRAINT ck_order_lines_quantity CHECK (ol_quantity > 0)",
    "CREATE UNIQUE INDEX ix_customers_guid ON dbo.customers (c_guid)",
    "CREATE INDEX ix_orders_customer ON dbo.orders (o_w_id, o_d_id, o_c_id) INCLUDE (o_carrier)",
];

pub(super) fn tables() -> Vec<Table> {
    let mut tables = places();
    tables.extend(orders());
    tables.extend(goods());
    tables
}

fn places() -> Vec<Table> {
    vec![
        Table::keyed(
            "warehouses",
            1,
            vec![
                column("w_id", SmallInt),
                column("w_name", NVarChar(20)),
                column("w_code", NChar(6)),
                column("w_tax", Decimal(4, 4)),
                column("w_ytd", Decimal(14, 2)),
                column("w_opened", Date),
                column("w_active", Bit),
            ],
        ),
        Table::keyed(
            "districts",
            2,
            vec![
                column("d_w_id", SmallInt),
                column("d_id", TinyInt),
                column("d_name", VarChar(20)),
                column("d_tax", Decimal(4, 4)),
                column("d_ytd", Decimal(14, 2)),
                column("d_next_o_id", Int),
            ],
        ),
        Table::keyed(
            "customers",
            3,
            vec![
                column("c_w_id", SmallInt),
                column("c_d_id", TinyInt),
                column("c_id", Int),
                column("c_guid", UniqueIdentifier),
                column("c_name", NVarChar(40)),
                column("c_credit", Char(2)),
                column("c_discount", Real),
                column("c_balance", Money),
                column("c_payments", Int),
                column("c_orders", Int),
                column("c_since", DateTimeOffset(7)),
                nullable("c_birth", Date),
                nullable("c_score", Float),
                nullable("c_notes", NVarCharMax),
                nullable("c_photo", VarBinaryMax),
            ],
        ),
        Table::keyed(
            "payments",
            2,
            vec![
                column("p_session", Int),
                column("p_n", Int),
                column("p_w_id", SmallInt),
                column("p_d_id", TinyInt),
                column("p_c_id", Int),
                column("p_amount", Money),
                column("p_at", DateTime2(7)),
                nullable("p_memo", VarChar(60)),
            ],
        ),
    ]
}

fn orders() -> Vec<Table> {
    vec![
        Table::keyed(
            "new_orders",
            3,
            vec![column("no_w_id", SmallInt), column("no_d_id", TinyInt), column("no_o_id", Int)],
        ),
        Table::keyed(
            "orders",
            3,
            vec![
                column("o_w_id", SmallInt),
                column("o_d_id", TinyInt),
                column("o_id", Int),
                column("o_c_id", Int),
                column("o_lines", TinyInt),
                nullable("o_carrier", TinyInt),
                column("o_entered", DateTime2(3)),
                nullable("o_comment", NVarCharMax),
            ],
        ),
        Table::keyed(
            "order_lines",
            4,
            vec![
                column("ol_w_id", SmallInt),
                column("ol_d_id", TinyInt),
                column("ol_o_id", Int),
                column("ol_number", TinyInt),
                column("ol_i_id", Int),
                column("ol_quantity", SmallInt),
                column("ol_amount", Decimal(9, 2)),
                nullable("ol_delivered", SmallDateTime),
                column("ol_mark", Binary(8)),
            ],
        ),
    ]
}

fn goods() -> Vec<Table> {
    vec![
        Table::keyed(
            "items",
            1,
            vec![
                column("i_id", Int),
                column("i_name", NVarChar(30)),
                column("i_price", SmallMoney),
                column("i_sold_from", Time(7)),
                nullable("i_data", VarBinary(50)),
            ],
        ),
        Table::keyed(
            "stock",
            2,
            vec![
                column("s_w_id", SmallInt),
                column("s_i_id", Int),
                column("s_quantity", Int),
                column("s_sold", BigInt),
                column("s_weight", Float),
                nullable("s_counted", DateTime),
            ],
        ),
    ]
}
