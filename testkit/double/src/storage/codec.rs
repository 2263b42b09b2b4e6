//! The bytes of values, definitions and records in files: little-endian, lengths before content,
//! a tag byte before each variant. Files are read by the version that wrote them, or a later one
//! that keeps the tags.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{
    BlockOperation, CheckDef, ColumnDef, ColumnTraits, Comparison, ComputedDef, DatabaseDefs,
    DatabaseInfo, DefaultDef, FilterDef, FilterTerm, FilterTest, ForeignKeyDef, Identity,
    IndexColumn, IndexDef, IndexKind, Keeping, Lsn, ModuleDef, ModuleKind, Owner, ParameterDef,
    PartitionFunctionDef, PolicyDef, PredicateDef, PropertyDef, ReferentialAction, RowId,
    SchemeDef, SequenceDef, SpaceDef, TableDef, TypeDef,
};
use crate::engine::collation::Label;
use crate::value::{Str, Variant};
use crate::{SqlType, Value};

/// Bytes that are not what they should be.
#[derive(Debug, thiserror::Error)]
#[error("the file is damaged: {0}")]
pub(super) struct Damaged(pub(super) &'static str);

/// Reads from a slice.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Damaged> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Damaged("it ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn get<T: Code>(&mut self) -> Result<T, Damaged> {
        T::get(self)
    }
}

/// What can be written to and read from bytes.
pub(super) trait Code: Sized {
    fn put(&self, out: &mut Vec<u8>);
    fn get(from: &mut Reader<'_>) -> Result<Self, Damaged>;
}

macro_rules! numbers {
    ($($ty:ty),*) => {$(
        impl Code for $ty {
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
            fn get(from: &mut Reader<'_>) -> Result<Self, Damaged> {
                let bytes = from.take(size_of::<$ty>())?;
                Ok(<$ty>::from_le_bytes(bytes.try_into().map_err(|_| Damaged("a number"))?))
            }
        }
    )*};
}

numbers!(u8, u16, u32, u64, i16, i32, i64, i128, f32, f64);

/// A struct as its fields in order.
macro_rules! fields {
    ($ty:ident { $($field:ident),* }) => {
        impl Code for $ty {
            fn put(&self, out: &mut Vec<u8>) {
                $(self.$field.put(out);)*
            }
            fn get(from: &mut Reader<'_>) -> Result<Self, Damaged> {
                Ok($ty { $($field: from.get()?),* })
            }
        }
    };
}

/// An enum without content as its place in the list.
macro_rules! variants {
    ($ty:ident { $($variant:ident = $tag:literal),* }) => {
        impl Code for $ty {
            fn put(&self, out: &mut Vec<u8>) {
                let tag: u8 = match self { $($ty::$variant => $tag),* };
                tag.put(out);
            }
            fn get(from: &mut Reader<'_>) -> Result<Self, Damaged> {
                match u8::get(from)? {
                    $($tag => Ok($ty::$variant),)*
                    _ => Err(Damaged(stringify!($ty))),
                }
            }
        }
    };
}

fields!(Identity { seed, increment });
fields!(DefaultDef { name, definition });
fields!(ComputedDef { definition, persisted });
fields!(ColumnTraits { row_guid, sparse, not_for_replication, unpadded });
fields!(ColumnDef {
    id,
    name,
    ty,
    nullable,
    identity,
    default,
    computed,
    collation,
    alias,
    traits,
    mask
});
fields!(Keeping {
    fill_factor,
    padded,
    row_locks,
    page_locks,
    sequential,
    compression,
    space,
    parted_by
});
fields!(TypeDef { id, schema, name, ty, nullable });
fields!(IndexColumn { column, descending });
fields!(FilterTerm { column, test });
fields!(FilterDef { definition, terms });
fields!(IndexDef {
    id,
    name,
    kind,
    clustered,
    unique,
    keys,
    includes,
    constraint_id,
    filter,
    disabled,
    keeping
});
fields!(SpaceDef { id, name, scheme });
fields!(SchemeDef { function, spaces });
fields!(PartitionFunctionDef { id, name, ty, right, values, create_date });
fields!(Owner { class, major, minor });
fields!(PropertyDef { of, name, value });
fields!(DatabaseDefs { spaces, functions, properties });
fields!(CheckDef { id, name, definition, disabled, not_trusted, not_for_replication });
fields!(ForeignKeyDef {
    id,
    name,
    columns,
    referenced_table,
    referenced_columns,
    on_delete,
    on_update,
    disabled,
    not_trusted,
    not_for_replication
});
fields!(TableDef {
    id,
    schema,
    name,
    columns,
    next_column_id,
    indexes,
    checks,
    foreign_keys,
    create_date,
    modify_date,
    ms_shipped,
    captures,
    module,
    keeping,
    lob_space,
    ansi_nulls_off
});
fields!(ParameterDef { name, ty, output, has_default });
fields!(ModuleDef {
    kind,
    definition,
    check_option,
    parameters,
    schema_bound,
    policy,
    ansi_nulls_off,
    quoted_off,
    sequence
});
variants!(ModuleKind { View = 0, Procedure = 1, Function = 2, Policy = 3, Sequence = 4 });
fields!(SequenceDef { ty, start, increment, least, most, cycle, cache, restart });
fields!(PolicyDef { enabled, schema_bound, not_for_replication, predicates });
fields!(PredicateDef { id, block, operation, definition, target });
variants!(BlockOperation { AfterInsert = 0, AfterUpdate = 1, BeforeUpdate = 2, BeforeDelete = 3 });
fields!(DatabaseInfo {
    id,
    name,
    create_date,
    allow_snapshot,
    read_committed_snapshot,
    cdc_enabled,
    published,
    compatibility_level,
    collation,
    database_guid,
    family_guid,
    recovery_fork_guid
});
variants!(IndexKind { Index = 0, PrimaryKey = 1, UniqueConstraint = 2 });
variants!(Comparison {
    Equal = 0,
    NotEqual = 1,
    Less = 2,
    LessOrEqual = 3,
    Greater = 4,
    GreaterOrEqual = 5
});
variants!(ReferentialAction { NoAction = 0, Cascade = 1, SetNull = 2, SetDefault = 3 });

impl Code for FilterTest {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            FilterTest::IsNull => 0u8.put(out),
            FilterTest::IsNotNull => 1u8.put(out),
            FilterTest::Compare(comparison, value) => {
                2u8.put(out);
                comparison.put(out);
                value.put(out);
            }
            FilterTest::In(values) => {
                3u8.put(out);
                values.put(out);
            }
        }
    }
    fn get(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        Ok(match u8::get(from)? {
            0 => FilterTest::IsNull,
            1 => FilterTest::IsNotNull,
            2 => FilterTest::Compare(from.get()?, from.get()?),
            3 => FilterTest::In(from.get()?),
            _ => return Err(Damaged("a filter")),
        })
    }
}

impl Code for bool {
    fn put(&self, out: &mut Vec<u8>) {
        u8::from(*self).put(out);
    }
    fn get(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        Ok(u8::get(from)? != 0)
    }
}

impl<const N: usize> Code for [u8; N] {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
    fn get(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        from.take(N)?.try_into().map_err(|_| Damaged("an array"))
    }
}

impl Code for Lsn {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }
    fn get(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        from.get().map(Lsn)
    }
}

impl Code for RowId {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }
    fn get(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        from.get().map(RowId)
    }
}

fn put_length(length: usize, out: &mut Vec<u8>) {
    (length as u64).put(out);
}

fn get_length(from: &mut Reader<'_>) -> Result<usize, Damaged> {
    usize::try_from(u64::get(from)?).map_err(|_| Damaged("a length"))
}

fn get_bytes<'a>(from: &mut Reader<'a>) -> Result<&'a [u8], Damaged> {
    let length = get_length(from)?;
    from.take(length)
}

impl Code for String {
    fn put(&self, out: &mut Vec<u8>) {
        put_length(self.len(), out);
        out.extend_from_slice(self.as_bytes());
    }
    fn get(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        String::from_utf8(get_bytes(from)?.to_vec()).map_err(|_| Damaged("text"))
    }
}

impl<T: Code> Code for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        put_length(self.len(), out);
        self.iter().for_each(|item| item.put(out));
    }
    fn get(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        let length = get_length(from)?;
        // A length read from damaged bytes must not reserve memory.
        let mut items = Vec::with_capacity(length.min(from.0.len()));
        for _ in 0..length {
            items.push(from.get()?);
        }
        Ok(items)
    }
}

impl<T: Code> Code for Arc<[T]> {
    fn put(&self, out: &mut Vec<u8>) {
        put_length(self.len(), out);
        self.iter().for_each(|item| item.put(out));
    }
    fn get(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        Vec::<T>::get(from).map(Arc::from)
    }
}

impl<T: Code> Code for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }
    fn get(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        bool::get(from)?.then(|| from.get()).transpose()
    }
}

impl<A: Code, B: Code> Code for (A, B) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }
    fn get(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        Ok((from.get()?, from.get()?))
    }
}

impl<K: Code + Ord, V: Code> Code for BTreeMap<K, V> {
    fn put(&self, out: &mut Vec<u8>) {
        put_length(self.len(), out);
        for (key, value) in self {
            key.put(out);
            value.put(out);
        }
    }
    fn get(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        Vec::<(K, V)>::get(from).map(|pairs| pairs.into_iter().collect())
    }
}

impl Code for SqlType {
    fn put(&self, out: &mut Vec<u8>) {
        let tag: u8 = match self {
            SqlType::Bit => 0,
            SqlType::TinyInt => 1,
            SqlType::SmallInt => 2,
            SqlType::Int => 3,
            SqlType::BigInt => 4,
            SqlType::Decimal { .. } => 5,
            SqlType::Money => 6,
            SqlType::SmallMoney => 7,
            SqlType::Float => 8,
            SqlType::Real => 9,
            SqlType::Char(_) => 10,
            SqlType::VarChar(_) => 11,
            SqlType::NChar(_) => 12,
            SqlType::NVarChar(_) => 13,
            SqlType::Binary(_) => 14,
            SqlType::VarBinary(_) => 15,
            SqlType::Date => 16,
            SqlType::Time(_) => 17,
            SqlType::SmallDateTime => 18,
            SqlType::DateTime => 19,
            SqlType::DateTime2(_) => 20,
            SqlType::DateTimeOffset(_) => 21,
            SqlType::UniqueIdentifier => 22,
            SqlType::Numeric { .. } => 23,
            SqlType::RowVersion => 24,
            SqlType::Text => 25,
            SqlType::NText => 26,
            SqlType::Image => 27,
            SqlType::Xml => 28,
            SqlType::Variant => 29,
            SqlType::HierarchyId => 30,
            SqlType::Geometry => 31,
            SqlType::Geography => 32,
            SqlType::Json => 33,
            SqlType::Vector(_) => 34,
        };
        tag.put(out);
        match self {
            SqlType::Decimal { precision, scale } | SqlType::Numeric { precision, scale } => {
                precision.put(out);
                scale.put(out);
            }
            SqlType::Char(n) | SqlType::NChar(n) | SqlType::Binary(n) => n.put(out),
            SqlType::Vector(n) => n.put(out),
            SqlType::VarChar(n) | SqlType::NVarChar(n) | SqlType::VarBinary(n) => n.put(out),
            SqlType::Time(n) | SqlType::DateTime2(n) | SqlType::DateTimeOffset(n) => n.put(out),
            _ => {}
        }
    }

    fn get(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        Ok(match u8::get(from)? {
            0 => SqlType::Bit,
            1 => SqlType::TinyInt,
            2 => SqlType::SmallInt,
            3 => SqlType::Int,
            4 => SqlType::BigInt,
            5 => SqlType::Decimal { precision: from.get()?, scale: from.get()? },
            6 => SqlType::Money,
            7 => SqlType::SmallMoney,
            8 => SqlType::Float,
            9 => SqlType::Real,
            10 => SqlType::Char(from.get()?),
            11 => SqlType::VarChar(from.get()?),
            12 => SqlType::NChar(from.get()?),
            13 => SqlType::NVarChar(from.get()?),
            14 => SqlType::Binary(from.get()?),
            15 => SqlType::VarBinary(from.get()?),
            16 => SqlType::Date,
            17 => SqlType::Time(from.get()?),
            18 => SqlType::SmallDateTime,
            19 => SqlType::DateTime,
            20 => SqlType::DateTime2(from.get()?),
            21 => SqlType::DateTimeOffset(from.get()?),
            22 => SqlType::UniqueIdentifier,
            23 => SqlType::Numeric { precision: from.get()?, scale: from.get()? },
            24 => SqlType::RowVersion,
            25 => SqlType::Text,
            26 => SqlType::NText,
            27 => SqlType::Image,
            28 => SqlType::Xml,
            29 => SqlType::Variant,
            30 => SqlType::HierarchyId,
            31 => SqlType::Geometry,
            32 => SqlType::Geography,
            33 => SqlType::Json,
            34 => SqlType::Vector(from.get()?),
            _ => return Err(Damaged("a type")),
        })
    }
}

impl Code for Value {
    fn put(&self, out: &mut Vec<u8>) {
        fn tagged(tag: u8, out: &mut Vec<u8>, parts: &[&dyn Put]) {
            tag.put(out);
            parts.iter().for_each(|part| part.put_into(out));
        }
        match self {
            Value::Null => tagged(0, out, &[]),
            Value::Bit(v) => tagged(1, out, &[v]),
            Value::TinyInt(v) => tagged(2, out, &[v]),
            Value::SmallInt(v) => tagged(3, out, &[v]),
            Value::Int(v) => tagged(4, out, &[v]),
            Value::BigInt(v) => tagged(5, out, &[v]),
            Value::Decimal { unscaled, scale } => tagged(6, out, &[unscaled, scale]),
            Value::Money(v) => tagged(7, out, &[v]),
            Value::SmallMoney(v) => tagged(8, out, &[v]),
            Value::Float(v) => tagged(9, out, &[v]),
            Value::Real(v) => tagged(10, out, &[v]),
            Value::String(v) => {
                11u8.put(out);
                v.label().code().put(out);
                put_length(v.len(), out);
                out.extend_from_slice(v);
            }
            Value::NString(v) => {
                12u8.put(out);
                v.label().code().put(out);
                put_length(v.len(), out);
                v.iter().for_each(|unit| unit.put(out));
            }
            Value::Binary(v) => {
                13u8.put(out);
                put_length(v.len(), out);
                out.extend_from_slice(v);
            }
            Value::Date(v) => tagged(14, out, &[v]),
            Value::Time(v) => tagged(15, out, &[v]),
            Value::SmallDateTime { days, minutes } => tagged(16, out, &[days, minutes]),
            Value::DateTime { days, ticks } => tagged(17, out, &[days, ticks]),
            Value::DateTime2 { days, time } => tagged(18, out, &[days, time]),
            Value::DateTimeOffset { days, time, offset } => tagged(19, out, &[days, time, offset]),
            Value::Guid(v) => tagged(20, out, &[v]),
            Value::Variant(v) => tagged(21, out, &[&v.ty, &v.value]),
        }
    }

    fn get(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        Ok(match u8::get(from)? {
            0 => Value::Null,
            1 => Value::Bit(from.get()?),
            2 => Value::TinyInt(from.get()?),
            3 => Value::SmallInt(from.get()?),
            4 => Value::Int(from.get()?),
            5 => Value::BigInt(from.get()?),
            6 => Value::Decimal { unscaled: from.get()?, scale: from.get()? },
            7 => Value::Money(from.get()?),
            8 => Value::SmallMoney(from.get()?),
            9 => Value::Float(from.get()?),
            10 => Value::Real(from.get()?),
            11 => {
                let label = Label::from_code(from.get()?);
                Value::String(Str::from(get_bytes(from)?).labelled(label))
            }
            12 => {
                let label = Label::from_code(from.get()?);
                let units: Arc<[u16]> = from.get()?;
                Value::NString(Str::from(units).labelled(label))
            }
            13 => Value::Binary(get_bytes(from)?.into()),
            14 => Value::Date(from.get()?),
            15 => Value::Time(from.get()?),
            16 => Value::SmallDateTime { days: from.get()?, minutes: from.get()? },
            17 => Value::DateTime { days: from.get()?, ticks: from.get()? },
            18 => Value::DateTime2 { days: from.get()?, time: from.get()? },
            19 => {
                Value::DateTimeOffset { days: from.get()?, time: from.get()?, offset: from.get()? }
            }
            20 => Value::Guid(from.get()?),
            21 => {
                let (ty, value) = (from.get()?, from.get()?);
                if matches!(value, Value::Null | Value::Variant(_)) {
                    return Err(Damaged("a sql_variant"));
                }
                Value::Variant(Arc::new(Variant { ty, value }))
            }
            _ => return Err(Damaged("a value")),
        })
    }
}

/// [`Code::put`] behind a reference.
trait Put {
    fn put_into(&self, out: &mut Vec<u8>);
}

impl<T: Code> Put for T {
    fn put_into(&self, out: &mut Vec<u8>) {
        self.put(out);
    }
}
