//! Entries of the schemas stream.

use lockstep_common::codec::{DecodeError, Decoder};
use lockstep_common::entry::{EntryKey, KeptPosition, SchemaEntry, writer_schemas};
use lockstep_common::record::SourceTime;
use lockstep_common::{Column, LogicalType, Position, TableId, TableName, TableVersion};
use uuid::Uuid;

fn column(name: &str, ty: LogicalType) -> Column {
    Column {
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

#[test]
fn every_entry_round_trips() {
    let bare = KeptPosition { transaction_id: None, source_time: None, ..kept() };
    let mut entries = vec![
        SchemaEntry::Log { log_id: Uuid::from_u128(1 << 100), created: 1 },
        SchemaEntry::Table(version()),
        SchemaEntry::Table(TableVersion { columns: Vec::new(), key: Vec::new(), ..version() }),
        SchemaEntry::Position(kept()),
        SchemaEntry::Position(bare),
    ];
    entries.extend(writer_schemas());
    for entry in entries {
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
    ] {
        assert_eq!(EntryKey::parse(&key.to_bytes()), Some(key));
    }
    for unknown in ["", "table", "table:12", "table:+123456789abcdef", "lease", "lease:1"] {
        assert_eq!(EntryKey::parse(unknown.as_bytes()), None, "{unknown}");
    }
}

#[test]
fn an_entry_of_a_later_version_is_read_with_its_schema() {
    let table = include_str!("../../../schemas/table.avsc");
    let mut json: serde_json::Value = serde_json::from_str(table).unwrap();
    let fields = json["fields"].as_array_mut().unwrap();
    fields.push(serde_json::json!({"name": "comment", "type": "string", "default": ""}));
    let later = apache_avro::Schema::parse_str(&json.to_string()).unwrap();
    let print = later.fingerprint::<apache_avro::rabin::Rabin>().bytes;
    let print = u64::from_le_bytes(print.try_into().unwrap());

    // The later layout is ours with a string behind it.
    let mut payload = SchemaEntry::Table(version()).encode();
    payload[2..10].copy_from_slice(&print.to_le_bytes());
    payload.extend_from_slice(&[0x04, b'h', b'i']);

    let mut decoder = Decoder::new();
    assert!(matches!(
        SchemaEntry::decode(&payload, &decoder),
        Err(DecodeError::UnknownSchema(unknown)) if unknown == print
    ));
    decoder.add(print, &json.to_string()).unwrap();
    assert_eq!(SchemaEntry::decode(&payload, &decoder).unwrap(), SchemaEntry::Table(version()));
}
