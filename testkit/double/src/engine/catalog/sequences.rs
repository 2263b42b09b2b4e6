//! `sys.sequences`.

use super::Table;
use super::definition::{Columns, Definition, Inside, ViewOf};
use super::objects::{Object, object_columns};
use super::source::Catalog;
use crate::SqlError;
use crate::storage::SequenceDef;

pub(super) const VIEWS: &[&dyn Definition] = &[&ViewOf::sys("sequences", columns, sequences)];

struct Sequence {
    object: Object,
    def: SequenceDef,
    /// The last value handed out.
    last: Option<i64>,
}

impl Sequence {
    fn number(&self, number: i64) -> Inside {
        Inside::number(&self.def.ty, number)
    }
}

fn sequences(catalog: &Catalog<'_>) -> Result<Vec<Sequence>, SqlError> {
    let of = |object: Table| {
        Some(Sequence {
            def: object.sequence()?.clone(),
            last: catalog.txn.last_in_sequence(object.id),
            object: Object::of_table(catalog, &object),
        })
    };
    Ok(catalog.objects().into_iter().filter_map(of).collect())
}

fn columns() -> Columns<Sequence> {
    Columns::new()
        .extend(object_columns(), |s: &Sequence| &s.object)
        .add("start_value", |s| s.number(s.def.start))
        .add("increment", |s| s.number(s.def.increment))
        .add("minimum_value", |s| Some(s.number(s.def.least)))
        .add("maximum_value", |s| Some(s.number(s.def.most)))
        .add("is_cycling", |s| Some(s.def.cycle))
        .add("is_cached", |s| Some(s.def.cache.is_some()))
        .add("cache_size", |s| s.def.cache.filter(|values| *values > 0))
        .add("system_type_id", |s| s.def.ty.system_type_id())
        .add("user_type_id", |s| s.def.ty.user_type_id())
        .add("precision", |s| s.def.ty.precision())
        .add("scale", |s| s.def.ty.scale())
        .add("current_value", |s| s.number(s.last.or(s.def.restart).unwrap_or(s.def.start)))
        .add("is_exhausted", |s| s.last.is_some_and(|last| s.def.after(last).is_none()))
        .add("last_used_value", |s| s.last.map(|last| s.number(last)))
}
