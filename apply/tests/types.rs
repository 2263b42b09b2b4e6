//! Types that have no like in PostgreSQL, or one of an extension, by default.
//!
//! PostGIS is asked what it holds where it is installed; where it is not, these tests say so and prove
//! nothing about it.

use lockstep_common::model::load::{ChunkAttributes, Handoff};
use lockstep_common::model::record::{Before, Operation};
use lockstep_common::{LogicalType, Value};
use uuid::Uuid;

use crate::bed::Bed;
use crate::source::{INT, TEXT, change, delete, insert, int, text, typed, update};

pub fn variant(type_name: &'static str, value: Value<'static>) -> Value<'static> {
    Value::Variant { type_name: type_name.into(), value: Box::new(value) }
}

pub fn other(type_name: &'static str, text: &'static str) -> Value<'static> {
    Value::Other { type_name: type_name.into(), text: text.into() }
}

/// Little-endian well-known binary of a point, with Z and M where they are given.
fn point(at: &[f64]) -> Vec<u8> {
    let ty: u32 = match at.len() {
        2 => 1,
        3 => 1001,
        _ => 3001,
    };
    let mut wkb = vec![1];
    wkb.extend(ty.to_le_bytes());
    at.iter().for_each(|v| wkb.extend(v.to_le_bytes()));
    wkb
}

fn positions(ty: u32, at: &[(f64, f64)]) -> Vec<u8> {
    let mut wkb = vec![1];
    wkb.extend(ty.to_le_bytes());
    wkb.extend(u32::try_from(at.len()).unwrap().to_le_bytes());
    at.iter().for_each(|(x, y)| wkb.extend([x.to_le_bytes(), y.to_le_bytes()].concat()));
    wkb
}

fn several(ty: u32, parts: &[Vec<u8>]) -> Vec<u8> {
    let mut wkb = vec![1];
    wkb.extend(ty.to_le_bytes());
    wkb.extend(u32::try_from(parts.len()).unwrap().to_le_bytes());
    parts.iter().for_each(|part| wkb.extend(part));
    wkb
}

fn shape(wkb: Vec<u8>, srid: i32) -> Value<'static> {
    Value::Geometry { wkb: wkb.into(), srid }
}

fn columns() -> Vec<(&'static str, &'static str, LogicalType)> {
    vec![
        ("id", "int", INT),
        ("version", "timestamp", LogicalType::Bytes { max: Some(8) }),
        ("doc", "xml", TEXT),
        ("any", "sql_variant", LogicalType::Variant),
        ("path", "hierarchyid", LogicalType::Other),
        ("shape", "geometry", LogicalType::Geometry),
        ("place", "geography", LogicalType::Geometry),
        ("facts", "json", TEXT),
        ("embedding", "vector(3)", LogicalType::Other),
    ]
}

fn row(id: i64) -> Vec<Value<'static>> {
    vec![
        int(id),
        Value::Bytes(vec![0, 0, 0, 0, 0, 0, 7, 0xd1].into()),
        text("<a>é</a>"),
        variant("decimal(10,2)", Value::Decimal { unscaled: 150, scale: 2 }),
        other("hierarchyid", "/1/2.1/"),
        shape(point(&[1.0, 2.0]), 0),
        shape(point(&[-122.5, 47.25]), 4326),
        text("{\"b\":1, \"a\":1.50, \"b\":2}"),
        other("vector(3)", "[1.0000000e+000,-2.5000000e-001,3.4028235e+038]"),
    ]
}

fn nulls(id: i64) -> Vec<Value<'static>> {
    let mut row = vec![Value::Null; columns().len()];
    row[0] = int(id);
    row
}

fn shown(id: i64) -> String {
    format!(
        "{id}|\\x00000000000007d1|<a>é</a>|{{\"type\": \"decimal(10,2)\", \"value\": 1.50}}|/1/2.1/|\
         \\x0101000000000000000000f03f0000000000000040|\
         \\x0101000020e61000000000000000a05ec00000000000a04740|\
         {{\"b\":1, \"a\":1.50, \"b\":2}}|{{1,-0.25,3.4028235e+38}}"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn types_without_a_like_arrive_by_every_statement() {
    let mut bed = Bed::new().await;
    let t = bed.source.table(&typed("odd", 1, &columns())).await;
    bed.source.commit(&[insert(t, row(1))]).await;
    bed.source.commit(&[insert(t, row(2)), insert(t, nulls(3)), insert(t, nulls(4))]).await;
    bed.source.commit(&[insert(t, nulls(5)), insert(t, nulls(6))]).await;
    bed.source.commit(&[update(t, nulls(3), row(3))]).await;
    bed.source
        .commit(&[
            update(t, nulls(4), row(4)),
            update(t, row(1), nulls(1)),
            update(t, nulls(5), row(5)),
        ])
        .await;
    bed.catch_up().await;
    let found = bed.query("SELECT * FROM odd WHERE doc IS NOT NULL ORDER BY id").await;
    assert_eq!(found, [2, 3, 4, 5].map(shown));
    assert_eq!(bed.query("SELECT id FROM odd WHERE doc IS NULL ORDER BY id").await, ["1", "6"]);
    let types = "SELECT string_agg(format_type(atttypid, atttypmod), ',' ORDER BY attnum) \
        FROM pg_attribute WHERE attrelid = 'odd'::regclass AND attnum > 0";
    let expected = "integer,bytea,xml,jsonb,text,bytea,bytea,json,real[]";
    assert_eq!(bed.query(types).await, [expected]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whole_rows_of_such_types_identify() {
    let mut bed = Bed::new().await;
    let t = bed.source.table(&typed("odd", 0, &columns())).await;
    let mut other = row(1);
    other[3] = variant("decimal(10,3)", Value::Decimal { unscaled: 1500, scale: 3 });
    bed.source.commit(&[insert(t, row(1)), insert(t, other.clone()), insert(t, row(2))]).await;
    bed.source.commit(&[delete(t, other), update(t, row(1), row(7))]).await;
    bed.catch_up().await;
    assert_eq!(bed.query("SELECT * FROM odd ORDER BY id").await, [2, 7].map(shown));
}

/// PostgreSQL itself reads the JSON, and its numbers as numbers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn variants_keep_their_type_and_every_digit() {
    let mut bed = Bed::new().await;
    let t = bed
        .source
        .table(&typed("v", 1, &[("id", "int", INT), ("any", "sql_variant", LogicalType::Variant)]))
        .await;
    let cases = [
        ("bit", Value::Bool(true), "boolean", "true"),
        ("bigint", Value::I64(i64::MIN), "number", "-9223372036854775808"),
        (
            "decimal(38,0)",
            Value::Decimal { unscaled: 10_i128.pow(38) - 1, scale: 0 },
            "number",
            "99999999999999999999999999999999999999",
        ),
        ("money", Value::Decimal { unscaled: -5, scale: 4 }, "number", "-0.0005"),
        ("float", Value::F64(0.1 + 0.2), "number", "0.30000000000000004"),
        ("float", Value::F64(-0.0), "string", "-0"),
        ("real", Value::F32(0.1), "number", "0.1"),
        ("nvarchar(40)", text("a\"b\\c\u{1}🦀"), "string", "a\"b\\c\u{1}🦀"),
        ("varbinary(2)", Value::Bytes(vec![0xab, 0].into()), "string", "0xAB00"),
        ("datetime2(7)", Value::Timestamp(-1), "string", "1969-12-31T23:59:59.9999999"),
        (
            "datetimeoffset(7)",
            Value::TimestampTz { ticks: 1, offset: -90 },
            "string",
            "1969-12-31T22:30:00.0000001-01:30",
        ),
    ];
    let rows: Vec<_> = (0_i64..)
        .zip(&cases)
        .map(|(id, (ty, value, ..))| insert(t, vec![int(id), variant(ty, value.clone())]))
        .collect();
    bed.source.commit(&rows).await;
    bed.catch_up().await;
    let found = bed
        .query(
            "SELECT \"any\" ->> 'type', jsonb_typeof(\"any\" -> 'value'), \"any\" ->> 'value' \
             FROM v ORDER BY id",
        )
        .await;
    let expected: Vec<_> =
        cases.iter().map(|(ty, _, kind, value)| format!("{ty}|{kind}|{value}")).collect();
    assert_eq!(found, expected);
    // The smallest and the largest floating-point numbers come back as themselves.
    let extremes = [f64::MAX, f64::MIN_POSITIVE, 5e-324, -1e300];
    let rows: Vec<_> = (100_i64..)
        .zip(extremes)
        .map(|(id, v)| insert(t, vec![int(id), variant("float", Value::F64(v))]))
        .collect();
    bed.source.commit(&rows).await;
    bed.catch_up().await;
    let back = "SELECT (\"any\" ->> 'value')::float8 FROM v WHERE id >= 100 ORDER BY id";
    let back: Vec<f64> = bed.query(back).await.iter().map(|v| v.parse().unwrap()).collect();
    assert_eq!(back, extremes);
}

// --- PostGIS ------------------------------------------------------------------------------------

/// Makes the extension in a schema of its own that is not on the path.
async fn postgis(bed: &Bed) -> bool {
    let there = "SELECT count(*) FROM pg_available_extensions WHERE name = 'postgis'";
    if bed.query(there).await != ["1"] {
        eprintln!("NOT RUN: the extension postgis is not installed beside this PostgreSQL");
        return false;
    }
    bed.query("CREATE SCHEMA gis; CREATE EXTENSION postgis SCHEMA gis").await;
    true
}

fn places() -> Vec<(&'static str, &'static str, LogicalType)> {
    vec![
        ("id", "int", INT),
        ("shape", "geometry", LogicalType::Geometry),
        ("place", "geography", LogicalType::Geometry),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgis_reads_every_kind_of_geometry_as_it_was() {
    let mut bed = Bed::new().await;
    if !postgis(&bed).await {
        return;
    }
    let ring = [(0.0, 0.0), (4.0, 0.0), (4.0, 4.0), (0.0, 4.0), (0.0, 0.0)];
    let hole = [(1.0, 1.0), (1.0, 2.0), (2.0, 2.0), (1.0, 1.0)];
    let rings = |rings: &[&[(f64, f64)]]| {
        let mut wkb = vec![1, 3, 0, 0, 0];
        wkb.extend(u32::try_from(rings.len()).unwrap().to_le_bytes());
        rings.iter().for_each(|ring| wkb.extend(&positions(2, ring)[5..]));
        wkb
    };
    let line = positions(2, &[(0.0, 0.0), (1.5, -2.25)]);
    let arc = positions(8, &[(0.0, 0.0), (1.0, 1.0), (2.0, 0.0)]);
    let back = positions(2, &[(2.0, 0.0), (0.0, 0.0)]);
    let closed = several(9, &[arc.clone(), back.clone()]);
    let cases: Vec<(Vec<u8>, i32, &str)> = vec![
        (point(&[0.1, -1e-7]), 0, "POINT(0.1 -1e-07)"),
        (point(&[1.0, 2.0, 3.0]), 27700, "POINT Z (1 2 3)"),
        (point(&[1.0, 2.0, 3.0, 4.0]), -1, "POINT ZM (1 2 3 4)"),
        (point(&[f64::NAN, f64::NAN]), 4326, "POINT EMPTY"),
        (line.clone(), 4326, "LINESTRING(0 0,1.5 -2.25)"),
        (rings(&[&ring, &hole]), 4326, "POLYGON((0 0,4 0,4 4,0 4,0 0),(1 1,1 2,2 2,1 1))"),
        (several(4, &[point(&[1.0, 2.0]), point(&[3.0, 4.0])]), 0, "MULTIPOINT(1 2,3 4)"),
        (
            several(5, &[line.clone(), line.clone()]),
            0,
            "MULTILINESTRING((0 0,1.5 -2.25),(0 0,1.5 -2.25))",
        ),
        (several(6, &[rings(&[&ring])]), 3857, "MULTIPOLYGON(((0 0,4 0,4 4,0 4,0 0)))"),
        (
            several(7, &[point(&[1.0, 2.0]), several(7, std::slice::from_ref(&line))]),
            4326,
            "GEOMETRYCOLLECTION(POINT(1 2),GEOMETRYCOLLECTION(LINESTRING(0 0,1.5 -2.25)))",
        ),
        (several(7, &[]), 0, "GEOMETRYCOLLECTION EMPTY"),
        (arc.clone(), 999_999, "CIRCULARSTRING(0 0,1 1,2 0)"),
        (closed.clone(), 0, "COMPOUNDCURVE(CIRCULARSTRING(0 0,1 1,2 0),(2 0,0 0))"),
        (
            several(10, &[closed]),
            0,
            "CURVEPOLYGON(COMPOUNDCURVE(CIRCULARSTRING(0 0,1 1,2 0),(2 0,0 0)))",
        ),
    ];
    let t = bed.source.table(&typed("places", 1, &places())).await;
    // COPY first, then arrays.
    let rows: Vec<_> = (0_i64..)
        .zip(&cases)
        .map(|(id, (wkb, srid, _))| vec![int(id), shape(wkb.clone(), *srid), Value::Null])
        .collect();
    bed.source.commit(&rows.iter().map(|row| insert(t, row.clone())).collect::<Vec<_>>()).await;
    let none = |row: &Vec<Value<'static>>| vec![row[0].clone(), Value::Null, Value::Null];
    bed.source
        .commit(&rows.iter().map(|row| update(t, row.clone(), none(row))).collect::<Vec<_>>())
        .await;
    bed.source
        .commit(&rows.iter().map(|row| update(t, none(row), row.clone())).collect::<Vec<_>>())
        .await;
    bed.catch_up().await;
    // Against PostGIS's own reading of the texts, and their reference systems.
    let texts: Vec<_> = (0..)
        .zip(&cases)
        .map(|(id, (_, srid, text)): (i32, _)| {
            format!("({id}, ST_GeomFromText('{text}', {}))", (*srid).max(0))
        })
        .collect();
    let same = format!(
        "SET search_path = public, gis; \
         SELECT id, ST_AsText(shape) = ST_AsText(g), ST_SRID(shape) = ST_SRID(g), \
         ST_AsEWKB(shape) = ST_AsEWKB(g), GeometryType(shape) FROM places \
         JOIN (VALUES {}) AS v(i, g) ON i = id ORDER BY id",
        texts.join(", ")
    );
    let found = bed.query(&same).await;
    assert_eq!(found.len(), cases.len());
    for (line, (.., text)) in found.iter().zip(&cases) {
        assert!(line.contains("|t|t|t|"), "{text}: {line}");
    }
    let equal = "SELECT bool_and(ST_Equals(shape, ST_GeomFromText('LINESTRING(1.5 -2.25,0 0)', 4326))) \
        FROM places WHERE GeometryType(shape) = 'LINESTRING'";
    assert_eq!(bed.query(equal).await, ["t"]);
}

/// Borders at the 180th meridian are a little beyond it in well-known samples.
const BEYOND: f64 = 180.000_000_000_000_03;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_type_of_a_geography_holds_every_one() {
    let mut bed = Bed::new().await;
    if !postgis(&bed).await {
        return;
    }
    let t = bed.source.table(&typed("places", 1, &places())).await;
    let row = |id, place| vec![int(id), Value::Null, place];
    let arc = positions(8, &[(0.0, 0.0), (1.0, 1.0), (2.0, 0.0)]);
    bed.source.commit(&[insert(t, row(1, shape(point(&[-122.349, 47.651]), 4326)))]).await;
    bed.source
        .commit(&[
            insert(t, row(2, shape(point(&[BEYOND, 0.0]), 4326))),
            insert(t, row(3, shape(point(&[-180.0, 90.5]), 4258))),
            insert(t, row(4, shape(point(&[1.0, 2.0, 3.0]), 4326))),
            insert(t, row(5, shape(arc, 4326))),
            // A sphere of SQL Server's own.
            insert(t, row(6, shape(point(&[1.0, 2.0]), 104_001))),
        ])
        .await;
    bed.catch_up().await;
    let found = bed
        .query(
            "SET search_path = public, gis; SELECT id, ST_AsText(place), ST_SRID(place), \
             pg_typeof(place), pg_typeof(shape) FROM places ORDER BY id",
        )
        .await;
    assert_eq!(
        found,
        [
            "1|POINT(-122.349 47.651)|4326|geometry|geometry",
            "2|POINT(180.00000000000003 0)|4326|geometry|geometry",
            "3|POINT(-180 90.5)|4258|geometry|geometry",
            "4|POINT Z (1 2 3)|4326|geometry|geometry",
            "5|CIRCULARSTRING(0 0,1 1,2 0)|4326|geometry|geometry",
            "6|POINT(1 2)|104001|geometry|geometry",
        ]
    );
}

/// PostGIS's own geography, where it is asked for or was made by an earlier version.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_geography_of_postgis_cannot_hold_halts_with_a_way_out_that_works() {
    const LOAD: Uuid = Uuid::from_u128(7);
    let arc = || positions(8, &[(0.0, 0.0), (1.0, 1.0), (2.0, 0.0)]);
    let row = |id, place| vec![int(id), Value::Null, place];
    let good = || shape(point(&[-122.349, 47.651]), 4326);
    for (place, word) in
        [(shape(arc(), 4326), "curve"), (shape(point(&[BEYOND, 0.0]), 4326), "180°")]
    {
        for (asked, load) in [(true, false), (true, true), (false, false), (false, true)] {
            let mut bed = Bed::new().await;
            if !postgis(&bed).await {
                return;
            }
            let mut settings = bed.settings();
            if asked {
                let geography = ("geography".to_owned(), "geography".to_owned());
                settings.config.types = [geography].into();
            } else {
                bed.query(
                    "CREATE TABLE places (id int PRIMARY KEY, shape gis.geometry, place gis.geography)",
                )
                .await;
            }
            let t = bed.source.defined(&typed("places", 1, &places())).await;
            bed.source.progress().await;
            if load {
                bed.source.begin_load(LOAD, &[(t, Handoff::Bracketed)]).await;
                let plain = ChunkAttributes { from: None, restart: false };
                bed.source.chunk_begin((LOAD, t, 0), plain).await;
                let mut partial = row(1, good());
                partial[1] = Value::Unavailable;
                let noted = change(t, Operation::Update, Before::Key(vec![int(1)]), partial);
                bed.source.commit(&[noted]).await;
                let rows = [row(1, Value::Null), row(17, place.clone())];
                let offsets = bed.source.chunk_rows((LOAD, t, 0), 0, &rows, 2).await;
                bed.source.chunk_end((LOAD, t, 0), 0, offsets, 2).await;
                bed.source.table_read(LOAD, t, 1, 2).await;
                bed.source.end_load(LOAD).await;
            } else {
                bed.source
                    .commit(&[insert(t, row(1, good())), insert(t, row(17, place.clone()))])
                    .await;
            }
            bed.source.progress().await;
            let failure = bed.start_with(settings.clone(), Default::default()).halts().await;
            let case = format!("asked {asked}, load {load}: {failure}");
            let code = if load { "apply.load.value" } else { "apply.conflict" };
            assert_eq!(failure.code.as_str(), code, "{case}");
            for part in [word, "column \"place\"", "\"id\" = 17", "TYPE geometry USING"] {
                assert!(failure.message.contains(part), "{case}");
            }
            // The configuration by itself says what is still to be done, and then it works.
            let geometry = ("geography".to_owned(), "geometry".to_owned());
            settings.config.types = [geometry].into();
            let failure = bed.start_with(settings.clone(), Default::default()).halts().await;
            assert!(
                failure.message.contains("TYPE geometry USING \"place\"::geometry"),
                "{failure}"
            );
            bed.query(
                "ALTER TABLE places ALTER COLUMN place TYPE gis.geometry USING place::gis.geometry",
            )
            .await;
            bed.catch_up_with(settings).await;
            let rows = "SELECT id, place IS NOT NULL FROM places ORDER BY id";
            assert_eq!(bed.query(rows).await, ["1|t", "17|t"], "asked {asked}, load {load}");
        }
    }
}

/// A load copies them too, merges them with what was noted, and a table without a key finds its rows by
/// them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn geometries_are_loaded_merged_and_found() {
    const LOAD: Uuid = Uuid::from_u128(7);
    let mut bed = Bed::new().await;
    if !postgis(&bed).await {
        return;
    }
    let t = bed.source.defined(&typed("places", 1, &places())).await;
    let h = bed.source.defined(&typed("heap", 0, &places())).await;
    let row =
        |id, x: f64| vec![int(id), shape(point(&[x, 0.5]), 27700), shape(point(&[x, 0.5]), 4326)];
    bed.source.progress().await;
    bed.source.begin_load(LOAD, &[(t, Handoff::Bracketed), (h, Handoff::Exact)]).await;
    let plain = ChunkAttributes { from: None, restart: false };
    bed.source.chunk_begin((LOAD, t, 0), plain).await;
    let mut partial = row(2, 20.0);
    partial[1] = Value::Unavailable;
    bed.source.commit(&[change(t, Operation::Update, Before::Key(vec![int(2)]), partial)]).await;
    let offsets = bed.source.chunk_rows((LOAD, t, 0), 0, &[row(1, 1.0), row(2, 2.0)], 2).await;
    bed.source.chunk_end((LOAD, t, 0), 0, offsets, 2).await;
    bed.source.table_read(LOAD, t, 1, 2).await;
    let exact = ChunkAttributes { from: Some(crate::source::at(bed.source.at)), restart: true };
    bed.source.chunk((LOAD, h, 0), exact, &[row(1, 1.0), row(1, 2.0)]).await;
    bed.source.table_read(LOAD, h, 1, 2).await;
    bed.source.end_load(LOAD).await;
    bed.source.commit(&[delete(h, row(1, 2.0)), update(h, row(1, 1.0), row(9, 9.0))]).await;
    bed.catch_up().await;
    let rows = |table: &str| {
        format!(
            "SET search_path = public, gis; \
             SELECT id, ST_AsText(shape), ST_AsText(place) FROM {table} ORDER BY id"
        )
    };
    let found = bed.query(&rows("places")).await;
    assert_eq!(found, ["1|POINT(1 0.5)|POINT(1 0.5)", "2|POINT(2 0.5)|POINT(20 0.5)"]);
    assert_eq!(bed.query(&rows("heap")).await, ["9|POINT(9 0.5)|POINT(9 0.5)"]);
}
