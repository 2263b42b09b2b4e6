//! Views over what a database may have and this one never has, and over its one filegroup.

use super::definition::{
    At, Code, Columns, Definition, Desc, Inside, NVar, Name, ViewOf, null, off, off_null, on_null,
};
use super::objects::{Object, object_columns};
use super::source::Catalog;
use crate::{SqlError, SqlType};

pub(super) const VIEWS: &[&dyn Definition] = &[
    &ViewOf::sys("triggers", trigger_columns, none),
    &ViewOf::sys("trigger_events", event_columns, none),
    &ViewOf::sys("synonyms", synonym_columns, none),
    &ViewOf::sys("sequences", sequence_columns, none),
    &ViewOf::sys("extended_properties", property_columns, none),
    &ViewOf::sys("partition_schemes", scheme_columns, none),
    &ViewOf::sys("partition_functions", function_columns, none),
    &ViewOf::sys("data_spaces", space_columns, primary),
    &ViewOf::sys("filegroups", filegroup_columns, primary),
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

fn zero() -> Inside {
    Inside::number(&SqlType::BigInt, 0)
}

fn sequence_columns() -> Columns<Object> {
    object_columns()
        .add_each(&["start_value", "increment"], |_| zero())
        .add_each(&["minimum_value", "maximum_value"], |_| Some(zero()))
        .add_each(&["is_cycling", "is_cached"], off_null)
        .add("cache_size", |_| Some(0))
        .add("system_type_id", |_| 0_u8)
        .add("user_type_id", |_| 0)
        .add_each(&["precision", "scale"], |_| 0_u8)
        .add("current_value", |_| zero())
        .add("is_exhausted", off)
        .add("last_used_value", |_| Some(zero()))
}

fn property_columns() -> Columns<Absent> {
    Columns::new()
        .add("class", |_: &Absent| 0_u8)
        .add("class_desc", |_| Some(Desc("")))
        .add_each(&["major_id", "minor_id"], |_| 0)
        .add("name", |_| Name(String::new()))
        .add("value", null::<_, Inside>)
}

fn scheme_columns() -> Columns<Absent> {
    Columns::new()
        .add("name", |_: &Absent| Name(String::new()))
        .add("data_space_id", |_| 0)
        .add("type", |_| Code::<2>(""))
        .add("type_desc", |_| Some(Desc("")))
        .add("is_default", off_null)
        .add("is_system", off_null)
        .add("function_id", |_| 0)
}

fn function_columns() -> Columns<Absent> {
    Columns::new()
        .add("name", |_: &Absent| Name(String::new()))
        .add("function_id", |_| 0)
        .add("type", |_| Code::<2>(""))
        .add("type_desc", |_| Some(Desc("")))
        .add("fanout", |_| 0)
        .add_each(&["boundary_value_on_right", "is_system"], off)
        .add("create_date", |_| At(0))
        .add("modify_date", |_| At(0))
}

/// The filegroup PRIMARY.
struct Primary;

fn primary(_: &Catalog<'_>) -> Result<Vec<Primary>, SqlError> {
    Ok(vec![Primary])
}

fn space_columns() -> Columns<Primary> {
    Columns::new()
        .add("name", |_: &Primary| Name("PRIMARY".to_owned()))
        .add("data_space_id", |_| 1)
        .add("type", |_| Code::<2>("FG"))
        .add("type_desc", |_| Some(Desc("ROWS_FILEGROUP")))
        .add("is_default", on_null)
        .add("is_system", off_null)
}

fn filegroup_columns() -> Columns<Primary> {
    space_columns()
        .add("filegroup_guid", |_| None::<[u8; 16]>)
        .add("log_filegroup_id", |_| None::<i32>)
        .add_each(&["is_read_only", "is_autogrow_all_files"], off_null)
}
