//! The row of ten columns, as a table version, as values, and as T-SQL.

use std::borrow::Cow;

use lockstep_common::codec::FragmentHead;
use lockstep_common::model::record::{Before, Boundary, Change, Operation};
use lockstep_common::{Column, LogicalType, Position, TableId, TableName, TableVersion, Value};
use uuid::Uuid;

/// The table's T-SQL.
pub(super) const CREATE: &str = "CREATE TABLE dbo.bench (
    id bigint NOT NULL PRIMARY KEY, a int NULL, b smallint NULL, amount decimal(18, 4) NULL,
    ratio float NULL, made datetime2(6) NULL, seen datetimeoffset(6) NULL, name varchar(50) NULL,
    note nvarchar(200) NULL, flag bit NULL)";

/// The table as capture describes it.
pub(super) fn table() -> TableVersion {
    TableVersion {
        name: TableName { schema: "dbo".to_owned(), table: "bench".to_owned() },
        ..numbered(1)
    }
}

/// One of several tables alike, `dbo.bench1` and so on.
pub(super) fn numbered(n: i64) -> TableVersion {
    let column = |name: &str, ty: LogicalType, source_type: &str| Column {
        id: None,
        name: name.to_owned(),
        ty,
        source_type: source_type.to_owned(),
        nullable: name != "id",
        collation: None,
        identity: false,
        computed: false,
    };
    TableVersion {
        dialect: "sqlserver".to_owned(),
        object_id: n,
        origin: None,
        name: TableName { schema: "dbo".to_owned(), table: format!("bench{n}") },
        columns: vec![
            column("id", LogicalType::Int { bytes: 8 }, "bigint"),
            column("a", LogicalType::Int { bytes: 4 }, "int"),
            column("b", LogicalType::Int { bytes: 2 }, "smallint"),
            column("amount", LogicalType::Decimal { precision: 18, scale: 4 }, "decimal(18,4)"),
            column("ratio", LogicalType::F64, "float"),
            column("made", LogicalType::Timestamp { digits: 6 }, "datetime2(6)"),
            column("seen", LogicalType::TimestampTz { digits: 6 }, "datetimeoffset(6)"),
            column("name", LogicalType::String { max: Some(50), fixed: false }, "varchar(50)"),
            column("note", LogicalType::String { max: Some(200), fixed: false }, "nvarchar(200)"),
            column("flag", LogicalType::Bool, "bit"),
        ],
        key: vec![0],
    }
}

/// The values of row `id`.
pub(super) fn values(id: i64) -> Vec<Value<'static>> {
    const START: i64 = 17_000_000_000_000_000;
    vec![
        Value::I64(id),
        Value::I64(id % 1_000_003),
        Value::I64(id % 30_011),
        Value::Decimal { unscaled: i128::from(id) * 7, scale: 4 },
        Value::F64(id as f64 / 3.0),
        Value::Timestamp(START + id * 10),
        Value::TimestampTz { ticks: START + id * 10, offset: 60 },
        Value::String(Cow::Borrowed("a name of some thirty letters.")),
        Value::String(Cow::Borrowed("a note that is a little longer than the name above")),
        Value::Bool(id % 2 == 0),
    ]
}

/// The insert of row `id`.
pub(super) fn insert(table: TableId, id: i64) -> Change<'static> {
    Change {
        table,
        operation: Operation::Insert,
        changed: Cow::Borrowed(&[]),
        before: Before::None,
        after: values(id),
        attributes: Default::default(),
    }
}

/// The position of the `n`th transaction, from 1.
pub(super) fn position(n: u64) -> Position {
    let mut lsn = [0; 10];
    lsn[..8].copy_from_slice(&n.to_be_bytes());
    Position::new(1, &lsn).expect("ten bytes fit")
}

/// The head of the `n`th transaction; its `after` is the one before it.
pub(super) fn head(log_id: Uuid, epoch: u64, n: u64) -> FragmentHead {
    FragmentHead {
        log_id,
        epoch,
        position: position(n),
        after: if n == 1 { Position::ORIGIN } else { position(n - 1) },
        time: 17_000_000_000_000_000 + i64::try_from(n).expect("a count"),
        attributes: Default::default(),
        boundary: Boundary::SourceTransaction,
        transaction_id: None,
        source_time: None,
    }
}
