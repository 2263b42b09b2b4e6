//! Views over what a database may have and this one never has.

use super::definition::{At, Code, Columns, Definition, Desc, NVar, Name, ViewOf, off, off_null};
use super::objects::{Object, object_columns};
use super::source::Catalog;
use crate::SqlError;

pub(super) const VIEWS: &[&dyn Definition] = &[
    &ViewOf::sys("triggers", trigger_columns, none),
    &ViewOf::sys("trigger_events", event_columns, none),
    &ViewOf::sys("synonyms", synonym_columns, none),
];

fn none<T>(_: &Catalog<'_>) -> Result<Vec<T>, SqlError> {
    Ok(Vec::new())
}

/// What there is none of.
enum Absent {}

fn trigger_columns() -> Columns<Absent> {
    Columns::new()
        .add("name", |_: &Absent| Name(String::new()))
        .add("object_id", |_| 0)
        .add("parent_class", |_| 0_u8)
        .add("parent_class_desc", |_| Some(Desc("")))
        .add("parent_id", |_| 0)
        .add("type", |_| Code::<2>(""))
        .add("type_desc", |_| Some(Desc("")))
        .add("create_date", |_| At(0))
        .add("modify_date", |_| At(0))
        .add_each(
            &["is_ms_shipped", "is_disabled", "is_not_for_replication", "is_instead_of_trigger"],
            off,
        )
}

fn event_columns() -> Columns<Absent> {
    Columns::new()
        .add("object_id", |_: &Absent| 0)
        .add("type", |_| 0)
        .add("type_desc", |_| Desc(""))
        .add("is_trigger_event", off_null)
        .add("event_group_type", |_| Some(0))
        .add("event_group_type_desc", |_| Some(Desc("")))
}

fn synonym_columns() -> Columns<Object> {
    object_columns().add("base_object_name", |_| Some(NVar::<1035>(String::new())))
}
