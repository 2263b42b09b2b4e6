//! Entries of the schemas stream.

use lockstep_common::codec::entry::{EntryKey, KeptPosition, SchemaEntry, writer_schemas};
use lockstep_common::codec::{DecodeError, Decoder};
use lockstep_common::model::definition::{
    Check, ColumnDefinition, Definition, ForeignKey, Identity, Index, IndexColumn, IndexKind,
    OtherObject, Referential,
};
use lockstep_common::model::load::{ChunkRange, Handoff, TableLoad, TableStage};
use lockstep_common::model::record::SourceTime;
use lockstep_common::{Column, LogicalType, Position, TableId, TableName, TableVersion, Value};
use uuid::Uuid;

fn column(name: &str, ty: LogicalType) -> Column {
    Column {
        id: None,
        name: name.into(),
        ty,
        source_type: format!("{name} of the source"),
        nullable: name.len().is_multiple_of(2),
        collation: (name.len() == 4).then(|| "Latin1_General_CI_AS".into()),
        identity: name == "id",
        computed: name == "sum",
    }
}

/// A version with every logical type, and each facet's extremes.
fn version() -> TableVersion {
    let columns = vec![
        column("flag", LogicalType::Bool),
        column("id", LogicalType::Int { bytes: 8 }),
        column("tiny", LogicalType::Int { bytes: 1 }),
        column("money", LogicalType::Decimal { precision: 38, scale: 0 }),
        column("real", LogicalType::F32),
        column("double", LogicalType::F64),
        column("text", LogicalType::String { max: None, fixed: false }),
        column("char", LogicalType::String { max: Some(u32::MAX), fixed: true }),
        column("blob", LogicalType::Bytes { max: None }),
        column("hash", LogicalType::Bytes { max: Some(16) }),
        column("guid", LogicalType::Uuid),
        column("day", LogicalType::Date),
        column("hour", LogicalType::Time { digits: 0 }),
        column("then", LogicalType::Timestamp { digits: 7 }),
        column("there", LogicalType::TimestampTz { digits: 3 }),
        column("any", LogicalType::Variant),
        column("shape", LogicalType::Geometry),
        column("sum", LogicalType::Other),
    ];
    TableVersion {
        dialect: "sqlserver".into(),
        object_id: -5,
        origin: None,
        name: TableName { schema: "dbo".into(), table: "Ünïcode \"table\"".into() },
        columns,
        key: vec![1, 0],
    }
}

fn kept() -> KeptPosition {
    KeptPosition {
        log_id: Uuid::from_u128(7),
        epoch: 3,
        position: Position::new(1, &[0, 0, 0, 0x27, 0, 0, 7, 0x58, 0, 5]).unwrap(),
        time: -1,
        transaction_id: Some(vec![0, 0xFF]),
        source_time: Some(SourceTime { raw: "2026-11-23 10:00:00.003".into(), offset: -60 }),
    }
}

fn definition() -> Definition {
    let text = |text: &str| text.to_owned();
    let name = |table: &str| TableName { schema: text("dbo"), table: text(table) };
    let column = |column: &str| ColumnDefinition { column: text(column), ..Default::default() };
    let index = |name: &str, kind, filter: Option<&str>| Index {
        name: text(name),
        kind,
        unique: filter.is_none(),
        columns: vec![
            IndexColumn { column: text("id"), descending: false },
            IndexColumn { column: text("day"), descending: true },
        ],
        included: vec![text("sum"), text("char")],
        filter: filter.map(text),
        disabled: filter.is_some(),
    };
    let foreign = |on_delete, on_update, flag| ForeignKey {
        name: format!("fk {on_delete:?}"),
        columns: vec![text("id"), text("day")],
        referenced: name("other"),
        referenced_columns: vec![text("a"), text("b")],
        on_delete,
        on_update,
        disabled: flag,
        unchecked: !flag,
    };
    Definition {
        table: version().id(),
        name: name("Ünïcode"),
        columns: vec![
            ColumnDefinition { default: Some(text("(getdate())")), ..column("day") },
            ColumnDefinition {
                identity: Some(Identity { seed: i64::MIN, increment: -1 }),
                ..column("id")
            },
            ColumnDefinition {
                computed: Some(text("([a]+[b])")),
                persisted: true,
                ..column("sum")
            },
        ],
        indexes: vec![
            index("pk", IndexKind::Primary, None),
            index("uq", IndexKind::Constraint, None),
            index("ix", IndexKind::Plain, Some("([a]>(0))")),
        ],
        foreign_keys: vec![
            foreign(Referential::NoAction, Referential::Cascade, false),
            foreign(Referential::SetNull, Referential::SetDefault, true),
        ],
        checks: vec![Check {
            name: text("ck"),
            condition: text("([a]>(0))"),
            disabled: false,
            unchecked: true,
        }],
        others: vec![OtherObject { kind: text("CLUSTERED COLUMNSTORE"), name: text("cc") }],
    }
}

fn bare_definition() -> Definition {
    Definition {
        columns: Vec::new(),
        indexes: Vec::new(),
        foreign_keys: Vec::new(),
        checks: Vec::new(),
        others: Vec::new(),
        ..definition()
    }
}

/// A load in the middle, with every kind of key there is.
fn load() -> TableLoad {
    let key = || {
        vec![
            Value::I64(-5),
            Value::String("Ünï".into()),
            Value::Decimal { unscaled: i128::MAX, scale: 3 },
            Value::Utf16(vec![0, 0xD8].into()),
            Value::Bytes(vec![0, 0xFF].into()),
            Value::Uuid([7; 16]),
            Value::Date(-1),
            Value::Time(3),
            Value::Timestamp(4),
            Value::TimestampTz { ticks: 5, offset: -60 },
            Value::F64(-0.0),
            Value::Bool(true),
        ]
    };
    TableLoad {
        load: Uuid::from_u128(9),
        reload: true,
        object_id: i64::MIN,
        table: TableId(u64::MAX),
        handoff: Handoff::Bracketed,
        stage: TableStage::Reading,
        next_chunk: u32::MAX,
        frontier: Some(key()),
        planned: false,
        unfinished: vec![
            ChunkRange { chunk: 0, lower: None, upper: Some(key()) },
            ChunkRange { chunk: 4, lower: Some(key()), upper: None },
        ],
        rows: 7,
        bytes: u64::MAX >> 1,
        from: None,
        read_at: Some("2026-11-23 10:00:00.003 +01:00".into()),
        begins: Some(kept().position),
        held: true,
    }
}

fn other_load(stage: TableStage) -> TableLoad {
    TableLoad {
        reload: false,
        handoff: Handoff::Exact,
        stage,
        frontier: None,
        planned: true,
        unfinished: Vec::new(),
        from: Some(kept().position),
        read_at: None,
        begins: None,
        held: false,
        ..load()
    }
}

/// Entries of every kind.
pub fn all() -> Vec<SchemaEntry> {
    let bare = KeptPosition { transaction_id: None, source_time: None, ..kept() };
    let mut entries = vec![
        SchemaEntry::Log { log_id: Uuid::from_u128(1 << 100), created: 1 },
        SchemaEntry::Table(version()),
        SchemaEntry::Table(TableVersion { columns: Vec::new(), key: Vec::new(), ..version() }),
        SchemaEntry::Position(kept()),
        SchemaEntry::Position(bare),
        SchemaEntry::Definition(definition()),
        SchemaEntry::Definition(bare_definition()),
        SchemaEntry::Load(load()),
        SchemaEntry::Load(other_load(TableStage::Waiting)),
        SchemaEntry::Load(other_load(TableStage::Read)),
        SchemaEntry::Load(other_load(TableStage::Done)),
    ];
    entries.extend(writer_schemas());
    entries
}

#[test]
fn every_entry_round_trips() {
    for entry in all() {
        let payload = entry.encode();
        assert_eq!(SchemaEntry::decode(&payload, &Decoder::new()).unwrap(), entry);
        for cut in 0..payload.len() {
            assert!(SchemaEntry::decode(&payload[..cut], &Decoder::new()).is_err(), "{entry:?}");
        }
    }
}

#[test]
fn keys_name_kind_and_id() {
    let id = version().id();
    let table = SchemaEntry::Table(version()).key();
    assert_eq!(table, format!("table:{id}").as_bytes());
    assert_eq!(EntryKey::parse(&table), Some(EntryKey::Table(id)));
    assert_eq!(SchemaEntry::Position(kept()).key(), b"position");
    for key in [
        EntryKey::Log,
        EntryKey::Position,
        EntryKey::WriterSchema(0xAB),
        EntryKey::Table(TableId(u64::MAX)),
        EntryKey::Definition(TableId(17)),
        EntryKey::Load(i64::MIN),
        EntryKey::Load(0),
    ] {
        assert_eq!(EntryKey::parse(&key.to_bytes()), Some(key));
    }
    let definition = SchemaEntry::Definition(definition()).key();
    assert_eq!(definition, format!("definition:{id}").as_bytes());
    assert_eq!(SchemaEntry::Load(load()).key(), format!("load:{}", i64::MIN).as_bytes());
    for unknown in [
        "",
        "table",
        "table:12",
        "table:+123456789abcdef",
        "definition:12",
        "load:",
        "load:+1",
        "load:01",
        "lease",
        "lease:1",
    ] {
        assert_eq!(EntryKey::parse(unknown.as_bytes()), None, "{unknown}");
    }
}

/// Adds a string to the end of a schema, as a later version might, and makes `entry`'s payload one of
/// that version.
fn as_later(schema: &str, entry: &SchemaEntry) -> (u64, String, Vec<u8>) {
    let mut json: serde_json::Value = serde_json::from_str(schema).unwrap();
    let fields = json["fields"].as_array_mut().unwrap();
    fields.push(serde_json::json!({"name": "comment", "type": "string", "default": ""}));
    let later = apache_avro::Schema::parse_str(&json.to_string()).unwrap();
    let print = later.fingerprint::<apache_avro::rabin::Rabin>().bytes;
    let print = u64::from_le_bytes(print.try_into().unwrap());
    let mut payload = entry.encode();
    payload[2..10].copy_from_slice(&print.to_le_bytes());
    payload.extend_from_slice(&[0x04, b'h', b'i']);
    (print, json.to_string(), payload)
}

#[test]
fn an_entry_of_a_later_version_is_read_with_its_schema() {
    for (schema, entry) in [
        (include_str!("../../../schemas/table.avsc"), SchemaEntry::Table(version())),
        (include_str!("../../../schemas/definition.avsc"), SchemaEntry::Definition(definition())),
        (include_str!("../../../schemas/load.avsc"), SchemaEntry::Load(load())),
    ] {
        let (print, json, payload) = as_later(schema, &entry);
        let mut decoder = Decoder::new();
        assert!(matches!(
            SchemaEntry::decode(&payload, &decoder),
            Err(DecodeError::UnknownSchema(unknown)) if unknown == print
        ));
        decoder.add(print, &json).unwrap();
        assert_eq!(SchemaEntry::decode(&payload, &decoder).unwrap(), entry);
    }
}
