//! A small database, and views of it as different users read them.

use std::sync::Arc;

use crate::engine::catalog::definition::Definition;
use crate::engine::catalog::source::Catalog;
use crate::engine::security::{DatabaseSecurity, Entry, On, Rights, Role, User};
use crate::storage::{
    CheckDef, ColumnDef, ComputedDef, Database, DefaultDef, ForeignKeyDef, Identity, IndexKind,
    ReferentialAction, Storage, StorageOptions, TableDef,
};
use crate::{IsolationLevel, SqlError, SqlType, Value};

/// A server with one database.
pub struct Fixture {
    pub storage: Arc<Storage>,
    pub database: Arc<Database>,
}

/// `dbo.customers` and `dbo.orders`, which refers to it.
pub fn fixture() -> Fixture {
    let storage = Storage::open(StorageOptions::default()).expect("a server in memory");
    let database = storage.create_database("shop").expect("a new name");
    let mut txn = database.begin(IsolationLevel::ReadCommitted);
    let mut id = ColumnDef::new("id", SqlType::Int, false);
    id.identity = Some(Identity { seed: 100, increment: 10 });
    let name = ColumnDef::new("name", SqlType::NVarChar(Some(50)), true);
    let customers = TableDef::new("dbo", "customers", vec![id, name]).with_index(
        "PK_customers",
        IndexKind::PrimaryKey,
        true,
        true,
        &["id"],
    );
    let customers = txn.create_table(customers).expect("a valid table");
    let mut total = ColumnDef::new("total", SqlType::Money, false);
    total.default =
        Some(DefaultDef { name: "DF_total".to_owned(), definition: "((0))".to_owned() });
    let mut twice = ColumnDef::new("twice", SqlType::Money, true);
    twice.computed = Some(ComputedDef { definition: "([total]*(2))".to_owned(), persisted: true });
    let columns = vec![
        ColumnDef::new("id", SqlType::BigInt, false),
        ColumnDef::new("customer", SqlType::Int, true),
        total,
        twice,
    ];
    let mut orders = TableDef::new("dbo", "orders", columns)
        .with_index("PK__orders__3213E83F5C2B7A11", IndexKind::PrimaryKey, true, false, &["id"])
        .with_index("ix_customer", IndexKind::Index, false, false, &["customer", "id"]);
    orders.indexes[1].keys[1].descending = true;
    orders.indexes[1].includes = vec![3];
    orders.checks.push(CheckDef {
        id: 0,
        name: "CK_total".to_owned(),
        definition: "([total]>=(0))".to_owned(),
        disabled: false,
        not_trusted: false,
        not_for_replication: false,
    });
    orders.foreign_keys.push(ForeignKeyDef {
        id: 0,
        name: "FK_customer".to_owned(),
        columns: vec![2],
        referenced_table: customers.id,
        referenced_columns: vec![1],
        on_delete: ReferentialAction::Cascade,
        on_update: ReferentialAction::NoAction,
        disabled: false,
        not_trusted: false,
        not_for_replication: false,
    });
    txn.create_table(orders).expect("a valid table");
    txn.commit().expect("a commit in memory");
    Fixture { storage, database }
}

/// A sysadmin.
pub fn owner() -> Rights {
    let mut rights = Rights::default();
    "sa".clone_into(&mut rights.login);
    "dbo".clone_into(&mut rights.user);
    rights.sysadmin = true;
    rights
}

impl Fixture {
    pub fn table(&self, name: &str) -> Arc<TableDef> {
        let txn = self.database.begin(IsolationLevel::ReadCommitted);
        let found = txn.tables().into_iter().find(|table| table.name == name);
        found.expect("the fixture has it")
    }

    /// A user `reader` who may SELECT one table.
    pub fn reader_of(&self, table: &str) -> Rights {
        let select = Entry {
            principal: "readers".to_owned(),
            permission: "SELECT".to_owned(),
            on: On::Object(self.table(table).id),
            denied: false,
        };
        let user = |name: &str| User { name: name.to_owned(), login: Some(name.to_owned()) };
        let security = DatabaseSecurity {
            users: vec![user("reader"), user("other")],
            roles: vec![Role { name: "readers".to_owned(), members: vec!["reader".to_owned()] }],
            entries: vec![select],
        };
        security.store(&self.database).expect("settings in memory");
        Rights::of_login("reader", false, &[], &self.database).expect("it has a user")
    }

    pub fn try_read(
        &self,
        view: &str,
        rights: &Rights,
    ) -> Result<Vec<Vec<(String, Value)>>, SqlError> {
        let view = find(view);
        let txn = self.database.begin(IsolationLevel::ReadCommitted);
        let rows = view.rows(&Catalog::new(&self.storage, &txn, rights, txn.info()))?;
        let names: Vec<String> = view.columns().into_iter().map(|column| column.name).collect();
        let named = |row: crate::storage::Row| {
            names.iter().cloned().zip(row.iter().cloned()).collect::<Vec<_>>()
        };
        Ok(rows.into_iter().map(named).collect())
    }

    /// The columns named of each row of a view.
    pub fn read(&self, view: &str, columns: &[&str], rights: &Rights) -> Vec<Vec<Value>> {
        let rows = self.try_read(view, rights).expect("the view can be read");
        let pick = |row: Vec<(String, Value)>| {
            let value = |name: &&str| {
                let found = row.iter().find(|(known, _)| known == name);
                found.unwrap_or_else(|| panic!("{view} has no column {name}")).1.clone()
            };
            columns.iter().map(value).collect()
        };
        rows.into_iter().map(pick).collect()
    }

    pub fn texts(&self, view: &str, column: &str, rights: &Rights) -> Vec<String> {
        let rows = self.read(view, &[column], rights);
        rows.iter().map(|row| row[0].to_text().unwrap_or_default()).collect()
    }
}

fn find(name: &str) -> &'static dyn Definition {
    let (schema, name) = name.split_once('.').unwrap_or(("sys", name));
    crate::engine::catalog::all()
        .find(|view| view.schema() == schema && view.name() == name)
        .unwrap_or_else(|| panic!("no view {name}"))
}
