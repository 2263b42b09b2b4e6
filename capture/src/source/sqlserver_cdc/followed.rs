//! A table that is followed: its instance, its shape, and the decoder and statements made from them.

use std::sync::Arc;

use lockstep_common::Code;
use lockstep_common::{Column, Failure, Origin, TableVersion};

use super::catalog::{Shape, UniqueKey};
use super::decode::{ColumnPlan, RowDecoder};
use super::instance::Instance;
use super::lsn::Lsn;
use super::statements::Reads;
use super::types::{self, RawColumn, TypePlan};
use crate::source::Table;

/// A followed table.
#[derive(Clone, Debug)]
pub struct Followed {
    /// Its instance, as it was settled on.
    pub instance: Instance,
    /// Its shape then.
    pub shape: Shape,
    /// The first LSN it can have changes at, when it began after the cursor.
    pub begins: Option<Lsn>,
    /// Its version.
    pub table: Table,
    /// Decodes its rows.
    pub decoder: RowDecoder,
    /// Reads its rows.
    pub reads: Reads,
}

const REMAKE: &str = "create a capture instance with the table's present shape and begin a new \
     pipeline (new log) on it";

impl Followed {
    /// Makes it. A `known` table keeps the name that it has there, and the key as
    /// long as that tells its rows apart, whatever else is unique by now. What its version does not
    /// record of the table's and the columns' identity is not added: the version would be another.
    ///
    /// # Errors
    /// `Halt` for a type without a rule, for a captured column that the source table no longer has
    /// as it was captured, and for an instance that cannot be read.
    pub fn new(
        instance: Instance,
        shape: Shape,
        max_value_bytes: u64,
        known: Option<&TableVersion>,
    ) -> Result<Self, Failure> {
        if shape.captured.is_empty() || shape.change_table.is_empty() {
            return Err(invisible(&instance));
        }
        let sources = source_columns(&instance, &shape)?;
        let plans = plans(&instance, &shape, &sources)?;
        let version = Arc::new(version(&instance, &shape, &sources, &plans, known));
        let table = Table { id: version.id(), version };
        let has_command_id = shape.change_table.iter().any(|c| c.name == "__$command_id");
        Ok(Followed {
            reads: Reads::new(&instance.name, &plans, has_command_id),
            decoder: RowDecoder::new(table.id, plans, max_value_bytes),
            instance,
            shape,
            begins: None,
            table,
        })
    }

    /// Whether what is replicated is as it was settled on: the captured columns, the change table, and
    /// the key. Other columns, indexes and constraints of the table may be what they like.
    ///
    /// # Errors
    /// `Halt` when it is not.
    pub fn check_shape(&self, now: &Shape) -> Result<(), Failure> {
        if *now == self.shape {
            return Ok(());
        }
        let known = Some(&*self.table.version);
        let now_like = Self::new(self.instance.clone(), now.clone(), u64::MAX, known)?;
        let what =
            if now.captured != self.shape.captured || now.change_table != self.shape.change_table {
                "its capture instance was altered"
            } else if now_like.table.version.columns != self.table.version.columns {
                "its columns were altered"
            } else if now_like.table.id != self.table.id {
                "its keys were altered"
            } else {
                return Ok(());
            };
        Err(shape_changed(&self.instance, what))
    }

    /// The table's columns that are not captured.
    pub fn uncaptured(&self) -> impl Iterator<Item = &RawColumn> {
        let captured = &self.shape.captured;
        let is_captured =
            |column: &&RawColumn| captured.iter().any(|c| c.column_id == column.column_id);
        self.shape.source.iter().filter(move |column| !is_captured(column))
    }

    /// Whether the change table's columns are as they were settled on.
    ///
    /// # Errors
    /// `Halt` when they are not.
    pub fn check_change_table(&self, now: &[RawColumn]) -> Result<(), Failure> {
        if now == self.shape.change_table {
            return Ok(());
        }
        if now.is_empty() {
            return Err(invisible(&self.instance));
        }
        Err(shape_changed(&self.instance, "the columns of its change table were altered"))
    }
}

fn invisible(instance: &Instance) -> Failure {
    Failure::new(
        Code::SourceInstance,
        format!(
            "the change table of instance {} ({}) cannot be seen",
            instance.name, instance.table
        ),
    )
    .remedy("GRANT SELECT on it and on the source table's captured columns")
}

fn shape_changed(instance: &Instance, what: &str) -> Failure {
    Failure::new(Code::SourceShape, format!("table {}: {what}", instance.table)).remedy(REMAKE)
}

/// How the captured columns are read from the source table itself, and its columns behind them.
///
/// # Errors
/// As [`Followed::new`].
pub fn source_plans(
    instance: &Instance,
    shape: &Shape,
) -> Result<(Vec<ColumnPlan>, Vec<RawColumn>), Failure> {
    let sources = source_columns(instance, shape)?;
    let plan = |(captured, source): (&super::catalog::Captured, &RawColumn)| {
        let plan = types::plan(source).ok_or_else(|| unsupported(instance, source))?;
        Ok(column_plan(captured, source, plan))
    };
    let plans = shape.captured.iter().zip(&sources).map(plan).collect::<Result<_, Failure>>()?;
    Ok((plans, sources))
}

fn column_plan(
    captured: &super::catalog::Captured,
    source: &RawColumn,
    plan: TypePlan,
) -> ColumnPlan {
    ColumnPlan {
        name: captured.name.clone(),
        ordinal: captured.ordinal,
        nullable: source.nullable,
        plan,
    }
}

fn unsupported(instance: &Instance, column: &RawColumn) -> Failure {
    Failure::new(
        Code::SourceType,
        format!(
            "column {} of {} is {}, which is not followed",
            column.name,
            instance.table,
            types::source_type(column)
        ),
    )
    .remedy(
        "leave the column out of the capture instance (@captured_column_list), or the table out of \
         source.tables",
    )
}

/// The source table's columns behind the captured ones, in their order.
fn source_columns(instance: &Instance, shape: &Shape) -> Result<Vec<RawColumn>, Failure> {
    let find = |captured: &super::catalog::Captured| {
        let found = shape.source.iter().find(|column| column.column_id == captured.column_id);
        found.filter(|column| column.name == captured.name).cloned().ok_or_else(|| {
            shape_changed(
                instance,
                &format!("captured column {} was dropped or re-created", captured.name),
            )
        })
    };
    shape.captured.iter().map(find).collect()
}

fn plans(
    instance: &Instance,
    shape: &Shape,
    sources: &[RawColumn],
) -> Result<Vec<ColumnPlan>, Failure> {
    let plan = |(captured, source): (&super::catalog::Captured, &RawColumn)| {
        let unsupported = || unsupported(instance, source);
        let in_change_table = shape.change_table.iter().find(|c| c.name == captured.name);
        let in_change_table = in_change_table.ok_or_else(|| {
            shape_changed(instance, &format!("its change table lacks column {}", captured.name))
        })?;
        let of_source = types::plan(source).ok_or_else(unsupported)?;
        let mut plan = types::plan(in_change_table).ok_or_else(unsupported)?;
        if plan.logical != of_source.logical {
            return Err(shape_changed(
                instance,
                &format!(
                    "column {} is {} in the table and {} in the change table",
                    captured.name, of_source.source_type, plan.source_type
                ),
            ));
        }
        // Whether it is computed is known of the source's column only.
        plan.recording = of_source.recording;
        plan.source_type = of_source.source_type;
        Ok(column_plan(captured, source, plan))
    };
    shape.captured.iter().zip(sources).map(plan).collect()
}

fn version(
    instance: &Instance,
    shape: &Shape,
    sources: &[RawColumn],
    plans: &[ColumnPlan],
    known: Option<&TableVersion>,
) -> TableVersion {
    let records_ids = known.is_none_or(|known| known.columns.iter().all(|c| c.id.is_some()));
    let column = |(source, plan): (&RawColumn, &ColumnPlan)| Column {
        id: records_ids.then_some(source.column_id),
        name: source.name.clone(),
        ty: plan.plan.logical.clone(),
        source_type: plan.plan.source_type.clone(),
        nullable: source.nullable,
        collation: source.collation.clone(),
        identity: source.identity,
        computed: source.computed,
    };
    TableVersion {
        dialect: "sqlserver".to_owned(),
        object_id: i64::from(instance.table_id),
        origin: known.map_or(shape.origin, |known| origin(shape, known)),
        name: known.map_or(&instance.table, |known| &known.name).clone(),
        columns: sources.iter().zip(plans).map(column).collect(),
        key: key(&shape.keys, sources, known),
    }
}

/// The table's origin, as far as the log records it: on whichever timeline it was seen first.
fn origin(shape: &Shape, known: &TableVersion) -> Option<Origin> {
    let seen = shape.origin.zip(known.origin);
    seen.map(|(now, known)| Origin { timeline: known.timeline, ..now }).or(known.origin)
}

/// The key that identifies a row: the one that the log has as long as the table has it; else the
/// primary key, else the first unique index without nullable columns, all of whose columns are captured
/// and recorded.
fn key(keys: &[UniqueKey], sources: &[RawColumn], known: Option<&TableVersion>) -> Vec<u16> {
    let index = |key: &UniqueKey, id: &i32| {
        let at = sources.iter().position(|column| column.column_id == *id)?;
        let usable = !sources[at].computed && (key.primary || !sources[at].nullable);
        u16::try_from(at).ok().filter(|_| usable)
    };
    let columns = |key: &UniqueKey| -> Option<Vec<u16>> {
        key.columns.iter().map(|id| index(key, id)).collect()
    };
    if let Some(known) = known {
        let same = |key: Vec<u16>| {
            key.len() == known.key.len() && key.iter().all(|index| known.key.contains(index))
        };
        if known.key.is_empty() || keys.iter().filter_map(columns).any(same) {
            return known.key.clone();
        }
    }
    keys.iter().find_map(columns).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::catalog::Captured;
    use super::*;
    use lockstep_common::TableName;

    const INT: u8 = 56;
    const CLR: u8 = 240;

    fn raw(name: &str, id: i32, system_type: u8) -> RawColumn {
        RawColumn {
            name: name.to_owned(),
            column_id: id,
            system_type,
            user_type: i32::from(system_type),
            max_length: 4,
            precision: 10,
            scale: 0,
            collation: None,
            nullable: false,
            identity: false,
            computed: false,
        }
    }

    fn instance() -> Instance {
        Instance {
            name: "dbo_t".to_owned(),
            table: TableName { schema: "dbo".to_owned(), table: "t".to_owned() },
            change_table_id: 20,
            table_id: 10,
            start_lsn: None,
            created: 0,
        }
    }

    fn shape() -> Shape {
        let captured =
            |name: &str, column_id, ordinal| Captured { name: name.to_owned(), column_id, ordinal };
        Shape {
            captured: vec![captured("a", 1, 1), captured("b", 3, 2)],
            source: vec![raw("a", 1, INT), raw("x", 2, INT), raw("b", 3, INT)],
            change_table: vec![raw("__$command_id", 9, INT), raw("a", 6, INT), raw("b", 7, INT)],
            keys: vec![
                UniqueKey { primary: true, columns: vec![2] },
                UniqueKey { primary: false, columns: vec![3, 1] },
            ],
            origin: Some(Origin { timeline: 1, created: 7 }),
        }
    }

    fn code(shape: Shape) -> Result<Followed, &'static str> {
        Followed::new(instance(), shape, 100, None).map_err(|failure| failure.code.as_str())
    }

    #[test]
    fn the_key_is_the_first_one_that_is_captured_whole() {
        let followed = code(shape()).expect("it can be followed");
        assert_eq!(followed.table.version.key, [1, 0]);
        assert!(followed.reads.window().contains("c.[__$command_id]"));
        let mut nullable = shape();
        nullable.source[2].nullable = true;
        assert_eq!(code(nullable).expect("followed").table.version.key, [] as [u16; 0]);
    }

    /// A column dropped and added again is another one, and so is a table; what the log does not record
    /// of its version stays unrecorded, so that the version goes on.
    #[test]
    fn a_version_tells_columns_and_tables_apart_as_far_as_it_records_them() {
        let like = |shape: Shape, known: Option<&TableVersion>| {
            Followed::new(instance(), shape, 100, known).expect("followed").table
        };
        let first = like(shape(), None);
        assert_eq!(
            first.version.columns.iter().map(|c| c.id).collect::<Vec<_>>(),
            [Some(1), Some(3)]
        );
        assert_eq!(first.version.origin, shape().origin);
        let mut again = shape();
        again.source[2].column_id = 4;
        again.captured[1].column_id = 4;
        again.keys[1].columns[0] = 4;
        let mut remade = shape();
        remade.origin = Some(Origin { timeline: 1, created: 8 });
        let mut old = (*first.version).clone();
        old.origin = None;
        old.columns.iter_mut().for_each(|column| column.id = None);
        for (other, now) in [("column", again), ("table", remade)] {
            assert_ne!(like(now.clone(), Some(&first.version)).id, first.id, "{other}");
            assert_eq!(like(now, Some(&old)).id, old.id(), "{other}");
        }
        // Another timeline sees the same table.
        let mut later = shape();
        later.origin = Some(Origin { timeline: 2, created: 7 });
        assert_eq!(like(later, Some(&first.version)).id, first.id);
        // A login that sees less by now.
        let blind = Shape { origin: None, ..shape() };
        assert_eq!(like(blind, Some(&first.version)).id, first.id);
    }

    #[test]
    fn a_shape_that_is_not_the_captured_one_is_refused() {
        let mut recreated = shape();
        recreated.source[2].column_id = 4;
        assert_eq!(code(recreated).err(), Some("source.shape"));
        let mut widened = shape();
        widened.source[2].system_type = 127;
        assert_eq!(code(widened).err(), Some("source.shape"));
        let mut own = shape();
        own.source[2].system_type = CLR;
        assert_eq!(code(own).err(), Some("source.type"));
        let mut invisible = shape();
        invisible.change_table.clear();
        assert_eq!(code(invisible).err(), Some("source.instance"));
    }

    #[test]
    fn a_later_difference_stops_where_it_is_of_what_is_replicated() {
        let followed = code(shape()).expect("it can be followed");
        let check = |change: &dyn Fn(&mut Shape)| {
            let mut now = shape();
            change(&mut now);
            followed.check_shape(&now).is_ok()
        };
        // Of what is not: other columns, other unique indexes, whichever comes first.
        assert!(check(&|_| {}));
        assert!(check(&|now| now.source.push(raw("new", 4, INT))));
        assert!(check(&|now| now.source[1].system_type = 127));
        assert!(check(&|now| now.source[1].name = "y".to_owned()));
        assert!(check(&|now| drop(now.source.remove(1))));
        assert!(check(&|now| {
            now.keys.insert(0, UniqueKey { primary: false, columns: vec![1] });
        }));
        assert!(check(&|now| now.keys[1].columns.reverse()));
        assert!(check(&|now| drop(now.keys.remove(0))));
        // Of what is: type, nullability, key.
        assert!(!check(&|now| now.source[0].nullable = true));
        assert!(!check(&|now| now.source[0].system_type = 127));
        assert!(!check(&|now| now.source[2].column_id = 9));
        assert!(!check(&|now| now.keys.clear()));
        assert!(!check(&|now| drop(now.change_table.pop())));
        assert!(!check(&|now| now.captured.clear()));
        let mut wider = shape().change_table;
        wider[1].max_length = 8;
        assert!(followed.check_change_table(&wider).is_err());
    }
}
