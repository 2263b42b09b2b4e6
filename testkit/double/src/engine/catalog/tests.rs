//! Views over a small database, as its owner and as an ordinary user see them.

mod fixture;

use std::sync::Arc;

use super::source::Catalog;
use super::{all, default_constraint_id, is_view, system_object_id, type_name};
use crate::engine::security::Rights;
use crate::storage::{ColumnDef, TableDef};
use crate::value::Variant;
use crate::{IsolationLevel, SqlType, Value};
use fixture::{fixture, owner};

fn text(value: &str) -> Value {
    Value::text(value)
}

#[test]
fn every_value_is_of_its_column() {
    let fixture = fixture();
    for view in all() {
        let txn = fixture.database.begin(IsolationLevel::ReadCommitted);
        let rights = owner();
        let catalog = Catalog::new(&fixture.storage, &txn, &rights, txn.info());
        let columns = view.columns();
        for (at, column) in columns.iter().enumerate() {
            let same = columns[..at].iter().find(|other| other.name == column.name);
            assert!(same.is_none(), "{} has {} twice", view.name(), column.name);
        }
        for row in view.rows(&catalog).expect("the owner may read every view") {
            assert_eq!(row.len(), columns.len(), "{}", view.name());
            for (value, column) in row.iter().zip(&columns) {
                let ty = column.ty.as_ref().expect("every column has a type");
                assert!(
                    fits(value, ty) && (column.nullable || !value.is_null()),
                    "{}.{}: {value:?}",
                    view.name(),
                    column.name
                );
            }
        }
    }
}

fn fits(value: &Value, ty: &SqlType) -> bool {
    match (value, ty) {
        (Value::Null, _)
        | (Value::Bit(_), SqlType::Bit)
        | (Value::TinyInt(_), SqlType::TinyInt)
        | (Value::SmallInt(_), SqlType::SmallInt)
        | (Value::Int(_), SqlType::Int)
        | (Value::BigInt(_), SqlType::BigInt)
        | (Value::Decimal { .. }, SqlType::Decimal { .. })
        | (Value::DateTime { .. }, SqlType::DateTime)
        | (Value::DateTimeOffset { .. }, SqlType::DateTimeOffset(_))
        | (Value::Guid(_), SqlType::UniqueIdentifier)
        | (Value::NString(_), SqlType::NVarChar(None)) => true,
        (Value::NString(units), SqlType::NVarChar(Some(n))) => units.len() <= usize::from(*n),
        (Value::String(bytes), SqlType::VarChar(Some(n))) => bytes.len() <= usize::from(*n),
        (Value::String(bytes), SqlType::Char(n)) => bytes.len() == usize::from(*n),
        (Value::Binary(bytes), SqlType::VarBinary(Some(n))) => bytes.len() <= usize::from(*n),
        (Value::Variant(variant), SqlType::Variant) => fits(&variant.value, &variant.ty),
        _ => false,
    }
}

/// The documented `system_type_id`, `max_length`, `precision` and `scale` of columns.
#[test]
fn columns_have_the_facts_of_their_types() {
    use SqlType::*;
    let facts = [
        (Bit, 104, 1, 1, 0),
        (TinyInt, 48, 1, 3, 0),
        (SmallInt, 52, 2, 5, 0),
        (Int, 56, 4, 10, 0),
        (BigInt, 127, 8, 19, 0),
        (Decimal { precision: 9, scale: 2 }, 106, 5, 9, 2),
        (Decimal { precision: 10, scale: 0 }, 106, 9, 10, 0),
        (Decimal { precision: 28, scale: 4 }, 106, 13, 28, 4),
        (Decimal { precision: 38, scale: 38 }, 106, 17, 38, 38),
        (Money, 60, 8, 19, 4),
        (SmallMoney, 122, 4, 10, 4),
        (Float, 62, 8, 53, 0),
        (Real, 59, 4, 24, 0),
        (Char(10), 175, 10, 0, 0),
        (VarChar(Some(8000)), 167, 8000, 0, 0),
        (VarChar(None), 167, -1, 0, 0),
        (NChar(10), 239, 20, 0, 0),
        (NVarChar(Some(4000)), 231, 8000, 0, 0),
        (NVarChar(None), 231, -1, 0, 0),
        (Binary(16), 173, 16, 0, 0),
        (VarBinary(Some(8)), 165, 8, 0, 0),
        (VarBinary(None), 165, -1, 0, 0),
        (Date, 40, 3, 10, 0),
        (Time(0), 41, 3, 8, 0),
        (Time(3), 41, 4, 12, 3),
        (Time(7), 41, 5, 16, 7),
        (SmallDateTime, 58, 4, 16, 0),
        (DateTime, 61, 8, 23, 3),
        (DateTime2(0), 42, 6, 19, 0),
        (DateTime2(7), 42, 8, 27, 7),
        (DateTimeOffset(0), 43, 8, 26, 0),
        (DateTimeOffset(7), 43, 10, 34, 7),
        (UniqueIdentifier, 36, 16, 0, 0),
    ];
    let fixture = fixture();
    let columns =
        (0..).zip(&facts).map(|(at, (ty, ..))| ColumnDef::new(format!("c{at}"), ty.clone(), true));
    let mut txn = fixture.database.begin(IsolationLevel::ReadCommitted);
    let wide =
        txn.create_table(TableDef::new("dbo", "wide", columns.collect())).expect("a valid table");
    txn.commit().expect("a commit in memory");
    let shown =
        ["system_type_id", "max_length", "precision", "scale", "object_id", "collation_name"];
    let rows = fixture.read("columns", &shown, &owner());
    let rows: Vec<_> = rows.into_iter().filter(|row| row[4] == Value::Int(wide.id)).collect();
    assert_eq!(rows.len(), facts.len());
    for ((ty, id, length, precision, scale), row) in facts.iter().zip(rows) {
        let expected = [
            Value::TinyInt(*id),
            Value::SmallInt(*length),
            Value::TinyInt(*precision),
            Value::TinyInt(*scale),
        ];
        assert_eq!(row[..4], expected, "{ty}");
        assert_eq!(row[5].is_null(), !ty.is_text(), "{ty}");
        assert_eq!(type_name(i32::from(*id)), Some(ty.name()));
    }
}

#[test]
fn a_user_sees_the_tables_he_has_a_permission_on() {
    let fixture = fixture();
    let reader = fixture.reader_of("orders");
    assert_eq!(fixture.texts("tables", "name", &owner()), ["customers", "orders"]);
    assert_eq!(fixture.texts("tables", "name", &reader), ["orders"]);
    assert_eq!(fixture.texts("INFORMATION_SCHEMA.TABLES", "TABLE_NAME", &reader), ["orders"]);
    assert_eq!(
        fixture.texts("columns", "name", &reader),
        ["id", "customer", "total", "twice"],
        "whole tables are seen"
    );
    assert_eq!(fixture.texts("objects", "type", &reader), ["U ", "PK", "C ", "F ", "D "]);
    // What is public stays visible.
    assert!(fixture.texts("databases", "name", &reader).contains(&"shop".to_owned()));
    assert_eq!(fixture.read("partitions", &["rows"], &reader).len(), 4);
    // Expressions need more than SELECT.
    for view in ["check_constraints", "default_constraints", "computed_columns"] {
        assert_eq!(fixture.read(view, &["definition"], &reader), [[Value::Null]], "{view}");
    }
    assert_eq!(fixture.read("default_constraints", &["definition"], &owner()), [[text("((0))")]]);
}

#[test]
fn principals_and_permissions_join() {
    let fixture = fixture();
    let reader = fixture.reader_of("orders");
    let orders = fixture.table("orders");
    let principals = fixture.read("database_principals", &["name", "principal_id"], &reader);
    let id = |name: &str| {
        let found = principals.iter().find(|row| row[0] == text(name));
        found.map(|row| row[1].clone())
    };
    assert!(id("other").is_none(), "other users are not seen");
    let granted = fixture.read(
        "database_permissions",
        &["grantee_principal_id", "major_id", "permission_name", "state_desc"],
        &reader,
    );
    let select = [
        id("readers").expect("a member sees his role"),
        Value::Int(orders.id),
        text("SELECT"),
        text("GRANT"),
    ];
    assert!(granted.iter().any(|row| row[..] == select), "{granted:?}");
    let members = fixture.read(
        "database_role_members",
        &["role_principal_id", "member_principal_id"],
        &reader,
    );
    let expected = [id("readers"), id("reader")].map(|id| id.expect("both are seen"));
    assert!(members.iter().any(|row| row[..] == expected), "{members:?}");
}

#[test]
fn dynamic_views_need_their_permission() {
    let fixture = fixture();
    let reader = fixture.reader_of("orders");
    let denied = |view: &str, rights: &Rights| {
        fixture.try_read(view, rights).err().map(|error| error.number)
    };
    assert_eq!(denied("dm_server_services", &reader), Some(300));
    assert_eq!(denied("dm_tran_database_transactions", &reader), Some(300));
    assert_eq!(denied("dm_cdc_log_scan_sessions", &reader), Some(262));
    let mut server = reader;
    server.server.push("VIEW SERVER STATE".to_owned());
    for view in ["dm_server_services", "dm_tran_database_transactions", "dm_cdc_errors"] {
        assert_eq!(denied(view, &server), None, "{view}");
    }
    let services = fixture.read("dm_server_services", &["servicename", "status_desc"], &server);
    assert_eq!(services[1], [text("SQL Server Agent (MSSQLSERVER)"), text("Running")]);
    crate::cdc::Server::set_agent(&fixture.storage, false);
    let services = fixture.read("dm_server_services", &["status", "status_desc"], &server);
    assert_eq!(services[1], [Value::Int(1), text("Stopped")]);
}

#[test]
fn keys_and_their_columns() {
    let fixture = fixture();
    let orders = fixture.table("orders");
    let of_orders = |rows: Vec<Vec<Value>>| -> Vec<Vec<Value>> {
        let own = |row: &Vec<Value>| row[0] == Value::Int(orders.id);
        rows.into_iter().filter(own).map(|row| row[1..].to_vec()).collect()
    };
    let shown = ["object_id", "index_id", "type_desc", "is_primary_key", "is_unique"];
    let indexes = of_orders(fixture.read("indexes", &shown, &owner()));
    let ids: Vec<Value> = orders.indexes.iter().map(|index| Value::Int(index.id)).collect();
    let (yes, no) = (Value::Bit(true), Value::Bit(false));
    assert_eq!(
        indexes,
        [
            vec![Value::Int(0), text("HEAP"), no.clone(), no.clone()],
            vec![ids[0].clone(), text("NONCLUSTERED"), yes.clone(), yes.clone()],
            vec![ids[1].clone(), text("NONCLUSTERED"), no.clone(), no.clone()],
        ]
    );
    let shown = [
        "object_id",
        "index_id",
        "column_id",
        "key_ordinal",
        "is_descending_key",
        "is_included_column",
    ];
    let columns = of_orders(fixture.read("index_columns", &shown, &owner()));
    let row = |index: usize, column, ordinal, descending: &Value, included: &Value| {
        vec![
            ids[index].clone(),
            Value::Int(column),
            Value::TinyInt(ordinal),
            descending.clone(),
            included.clone(),
        ]
    };
    assert_eq!(
        columns,
        [
            row(0, 1, 1, &no, &no),
            row(1, 2, 1, &no, &no),
            row(1, 1, 2, &yes, &no),
            row(1, 3, 0, &no, &yes),
        ]
    );
    let named = fixture.read("key_constraints", &["name", "is_system_named"], &owner());
    assert_eq!(named[0], [text("PK_customers"), no]);
    assert_eq!(named[1], [text("PK__orders__3213E83F5C2B7A11"), yes]);
}

#[test]
fn foreign_keys_name_the_key_they_refer_to() {
    let fixture = fixture();
    let (orders, customers) = (fixture.table("orders"), fixture.table("customers"));
    let shown = [
        "parent_object_id",
        "referenced_object_id",
        "key_index_id",
        "delete_referential_action_desc",
        "is_disabled",
    ];
    assert_eq!(
        fixture.read("foreign_keys", &shown, &owner()),
        [[
            Value::Int(orders.id),
            Value::Int(customers.id),
            Value::Int(1),
            text("CASCADE"),
            Value::Bit(false)
        ]]
    );
    let shown = ["parent_column_id", "referenced_column_id"];
    let pairs = fixture.read("foreign_key_columns", &shown, &owner());
    assert_eq!(pairs, [[Value::Int(2), Value::Int(1)]]);
    let shown = ["CONSTRAINT_NAME", "UNIQUE_CONSTRAINT_NAME", "DELETE_RULE"];
    let reference = &fixture.read("INFORMATION_SCHEMA.REFERENTIAL_CONSTRAINTS", &shown, &owner());
    assert_eq!(reference[0], [text("FK_customer"), text("PK_customers"), Value::ansi("CASCADE")]);
    let usage = fixture.read(
        "INFORMATION_SCHEMA.KEY_COLUMN_USAGE",
        &["CONSTRAINT_NAME", "COLUMN_NAME", "ORDINAL_POSITION"],
        &owner(),
    );
    assert!(usage.contains(&vec![text("FK_customer"), text("customer"), Value::Int(1)]));
}

#[test]
fn identity_and_default_columns() {
    let fixture = fixture();
    let (orders, customers) = (fixture.table("orders"), fixture.table("customers"));
    let shown = ["object_id", "seed_value", "increment_value", "last_value"];
    // Each is a sql_variant with the type of the column.
    let inside = |number| {
        let value = Value::Int(number);
        Value::Variant(Arc::new(Variant { ty: SqlType::Int, value }))
    };
    let counters = |last: Value| [vec![Value::Int(customers.id), inside(100), inside(10), last]];
    assert_eq!(fixture.read("identity_columns", &shown, &owner()), counters(Value::Null));
    let mut txn = fixture.database.begin(IsolationLevel::ReadCommitted);
    for name in ["a", "b"] {
        let id = txn.next_identity(customers.id).expect("it has an identity column");
        let id = i32::try_from(id).expect("a small number");
        txn.insert(customers.id, Arc::new([Value::Int(id), text(name)])).expect("new keys");
    }
    txn.commit().expect("a commit in memory");
    assert_eq!(fixture.read("identity_columns", &shown, &owner()), counters(inside(110)));
    let default = Value::Int(default_constraint_id(orders.id, 3));
    let shown = ["default_object_id", "is_computed"];
    let columns = fixture.read("columns", &shown, &owner());
    assert!(columns.contains(&vec![default.clone(), Value::Bit(false)]));
    assert!(columns.contains(&vec![Value::Int(0), Value::Bit(true)]));
    let shown = ["object_id", "parent_column_id", "name"];
    let expected = [[default, Value::Int(3), text("DF_total")]];
    assert_eq!(fixture.read("default_constraints", &shown, &owner()), expected);
}

#[test]
fn the_standard_describes_columns() {
    let fixture = fixture();
    let shown = [
        "TABLE_NAME",
        "COLUMN_NAME",
        "DATA_TYPE",
        "IS_NULLABLE",
        "CHARACTER_MAXIMUM_LENGTH",
        "NUMERIC_PRECISION",
        "NUMERIC_SCALE",
    ];
    let columns = fixture.read("INFORMATION_SCHEMA.COLUMNS", &shown, &owner());
    let null = || Value::Null;
    assert_eq!(
        columns[1],
        [
            text("customers"),
            text("name"),
            text("nvarchar"),
            Value::ansi("YES"),
            Value::Int(50),
            null(),
            null()
        ]
    );
    assert_eq!(
        columns[4],
        [
            text("orders"),
            text("total"),
            text("money"),
            Value::ansi("NO"),
            null(),
            Value::TinyInt(19),
            Value::Int(4)
        ]
    );
}

#[test]
fn recovery_status_is_the_owners() {
    let fixture = fixture();
    let reader = fixture.reader_of("orders");
    assert!(fixture.read("database_recovery_status", &["database_id"], &reader).is_empty());
    let shown = ["database_id", "recovery_fork_guid"];
    let status = fixture.read("database_recovery_status", &shown, &owner());
    let info = fixture.database.info();
    assert!(status.contains(&vec![Value::Int(info.id), Value::Guid(info.recovery_fork_guid)]));
}

#[test]
fn open_transactions_show_their_lsns() {
    let fixture = fixture();
    let mut txn = fixture.database.begin(IsolationLevel::ReadCommitted);
    txn.save();
    let lsn = txn.info().and_then(|info| info.savepoint_lsn).expect("it has saved");
    let shown = [
        "transaction_id",
        "database_transaction_state",
        "database_transaction_most_recent_savepoint_lsn",
    ];
    let id = Value::BigInt(i64::try_from(txn.id()).expect("a small number"));
    let rows = fixture.read("dm_tran_database_transactions", &shown, &owner());
    assert!(rows.contains(&vec![id, Value::Int(4), lsn.to_numeric()]), "{rows:?}");
}

#[test]
fn system_objects_have_ids_of_their_own() {
    let views: Vec<&str> = all().filter(|v| v.schema() == "sys").map(|v| v.name()).collect();
    let mut ids: Vec<i32> = views.iter().map(|name| system_object_id(name)).collect();
    assert!(ids.iter().all(|id| *id < 0));
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), views.len());
    assert_eq!(system_object_id("[sys].[Tables]"), system_object_id("tables"));
    assert!(is_view("sys.tables") && is_view("[INFORMATION_SCHEMA].columns"));
    assert!(!is_view("tables") && !is_view("sys.nothing") && !is_view("not a name"));
}
