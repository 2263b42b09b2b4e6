//! Definitions: what a table has beside its shape, as far as the login may see it.

use lockstep_common::TableName;
use lockstep_common::model::definition::{
    Check, ColumnDefinition, Definition, ForeignKey, Identity, Index, IndexColumn, IndexKind,
    OtherObject, Referential,
};

use crate::load_bed::Loading;
use crate::server::Server;

fn column(name: &str, descending: bool) -> IndexColumn {
    IndexColumn { column: name.to_owned(), descending }
}

fn index(name: &str, kind: IndexKind, unique: bool, columns: Vec<IndexColumn>) -> Index {
    Index {
        name: name.to_owned(),
        kind,
        unique,
        columns,
        included: Vec::new(),
        filter: None,
        disabled: false,
    }
}

async fn of(loading: &Loading, name: &str) -> Definition {
    let tables = loading.loader.definitions(&loading.tables).await.expect("definitions");
    assert_eq!(tables.len(), loading.tables.len());
    let table = loading.table(name).id;
    tables.into_iter().find(|definition| definition.table == table).expect("a definition")
}

async fn shop(server: &mut Server) {
    server.table("customers", "id int NOT NULL CONSTRAINT pk_customers PRIMARY KEY").await;
    server
        .table(
            "orders",
            "id int IDENTITY(10,5) NOT NULL CONSTRAINT pk_orders PRIMARY KEY, \
             customer int NOT NULL CONSTRAINT fk_customer REFERENCES dbo.customers (id) ON DELETE CASCADE, \
             code varchar(20) NOT NULL CONSTRAINT uq_code UNIQUE, \
             placed datetime2(3) NOT NULL CONSTRAINT df_placed DEFAULT (getdate()), \
             quantity int NOT NULL CONSTRAINT ck_quantity CHECK (quantity > 0), \
             price decimal(9,2) NOT NULL, \
             total AS (quantity * price) PERSISTED",
        )
        .await;
    for sql in [
        "CREATE INDEX ix_placed ON dbo.orders (placed DESC, customer) INCLUDE (code)",
        "CREATE UNIQUE INDEX ix_open ON dbo.orders (customer, placed) WHERE quantity > 5",
        "ALTER TABLE dbo.orders WITH NOCHECK ADD CONSTRAINT ck_price CHECK (price >= 0)",
        "ALTER TABLE dbo.orders NOCHECK CONSTRAINT fk_customer",
    ] {
        server.admin.run(sql).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_is_complete_for_who_may_see_it() {
    let mut server = Server::new().await;
    shop(&mut server).await;
    server.admin.run("GRANT VIEW DEFINITION ON dbo.orders TO reader").await;
    let loading = Loading::new(&server).await;
    let definition = of(&loading, "orders").await;
    let text = |condition: &Option<String>| condition.clone().unwrap_or_default();
    let by_name = |name: &str| {
        let found = definition.columns.iter().find(|column| column.column == name);
        found.unwrap_or_else(|| panic!("no {name} in {definition:#?}"))
    };
    assert_eq!(definition.columns.len(), 3, "{definition:#?}");
    assert_eq!(by_name("id").identity, Some(Identity { seed: 10, increment: 5 }));
    assert_eq!(text(&by_name("placed").default), "(getdate())");
    let total: &ColumnDefinition = by_name("total");
    assert!(text(&total.computed).contains("[quantity]*[price]") && total.persisted, "{total:?}");

    let mut indexes = definition.indexes.clone();
    indexes.sort_by(|a, b| a.name.cmp(&b.name));
    let filter = indexes.iter_mut().find_map(|index| index.filter.take()).expect("a filter");
    assert!(filter.contains("[quantity]>(5)"), "{filter}");
    let mut placed = index(
        "ix_placed",
        IndexKind::Plain,
        false,
        vec![column("placed", true), column("customer", false)],
    );
    placed.included = vec!["code".to_owned()];
    assert_eq!(
        indexes,
        [
            index(
                "ix_open",
                IndexKind::Plain,
                true,
                vec![column("customer", false), column("placed", false)]
            ),
            placed,
            index("pk_orders", IndexKind::Primary, true, vec![column("id", false)]),
            index("uq_code", IndexKind::Constraint, true, vec![column("code", false)]),
        ]
    );
    assert_eq!(
        definition.foreign_keys,
        [ForeignKey {
            name: "fk_customer".to_owned(),
            columns: vec!["customer".to_owned()],
            referenced: TableName { schema: "dbo".to_owned(), table: "customers".to_owned() },
            referenced_columns: vec!["id".to_owned()],
            on_delete: Referential::Cascade,
            on_update: Referential::NoAction,
            disabled: true,
            unchecked: true,
        }]
    );
    let checks: Vec<(&str, bool, bool)> = definition
        .checks
        .iter()
        .map(|Check { name, disabled, unchecked, .. }| (name.as_str(), *disabled, *unchecked))
        .collect();
    assert_eq!(checks, [("ck_price", false, true), ("ck_quantity", false, false)]);
    assert!(definition.checks[1].condition.contains("[quantity]>(0)"), "{definition:#?}");
    assert_eq!(definition.others, [] as [OtherObject; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_seen_is_named() {
    let mut server = Server::new().await;
    shop(&mut server).await;
    server.admin.run("REVOKE SELECT ON dbo.customers FROM reader").await;
    let loading = Loading::new(&server).await;
    let definition = of(&loading, "orders").await;
    let others: Vec<(&str, bool)> = definition
        .others
        .iter()
        .map(|other| (other.name.as_str(), other.kind.contains("not visible")))
        .collect();
    for name in ["placed", "total", "ck_quantity", "ck_price", "fk_customer"] {
        assert!(others.contains(&(name, true)), "{name} in {others:?}");
    }
    assert_eq!(definition.checks, []);
    // What needs no more than SELECT is there.
    assert!(definition.indexes.iter().any(|index| index.name == "pk_orders"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_names_an_uncaptured_column_is_only_reported() {
    let mut server = Server::new().await;
    server
        .admin
        .run("CREATE TABLE dbo.t (id int NOT NULL PRIMARY KEY, secret int NULL, v int NULL)")
        .await;
    server.admin.run("CREATE INDEX ix_secret ON dbo.t (secret)").await;
    server.admin.run("CREATE INDEX ix_v ON dbo.t (v)").await;
    server
        .admin
        .run(
            "EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N't', \
             @role_name = NULL, @supports_net_changes = 0, @captured_column_list = N'id, v'",
        )
        .await;
    server.stop_job().await;
    server.admin.run("GRANT SELECT ON dbo.t (id, v) TO reader").await;
    server.admin.run("GRANT SELECT ON cdc.dbo_t_CT TO reader").await;
    server.scan().await;
    server.admin.run("INSERT INTO dbo.t VALUES (1, 2, 3)").await;
    let loading = Loading::new(&server).await;
    let definition = of(&loading, "t").await;
    let names: Vec<&str> = definition.indexes.iter().map(|index| index.name.as_str()).collect();
    assert!(names.contains(&"ix_v") && !names.contains(&"ix_secret"), "{names:?}");
    assert!(definition.others.iter().any(|other| other.name == "ix_secret"), "{definition:#?}");
    // Rows are read with the rights that capture needs anyway.
    let rows = loading.rows(loading.table("t"), &crate::load_bed::whole()).await.expect("rows");
    assert_eq!(crate::load_bed::integers(&rows, 1), [3]);
}
