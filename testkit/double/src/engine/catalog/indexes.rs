//! Indexes, their columns, and how much is in them.

use super::Table;
use super::definition::{Columns, Definition, Desc, Name, Text, ViewOf, null, off_null};
use super::source::{Catalog, State};
use crate::SqlError;
use crate::storage::{ColumnId, IndexDef, IndexId, IndexKind, Keeping, ObjectId, Row};

pub(super) const VIEWS: &[&dyn Definition] = &[
    &ViewOf::sys("indexes", index_columns, indexes).by_object(),
    &ViewOf::sys("index_columns", index_column_columns, index_column_rows).by_object(),
    &ViewOf::sys("partitions", partition_columns, all_partitions),
    &ViewOf::sys("dm_db_partition_stats", partition_stats_columns, partition_stats),
];

/// An index; a heap is one without a definition.
struct Index {
    table: ObjectId,
    index: Option<IndexDef>,
    keeping: Keeping,
}

impl Index {
    fn id(&self) -> IndexId {
        self.index.as_ref().map_or(0, |index| index.id)
    }

    fn is(&self, kind: IndexKind) -> bool {
        self.index.as_ref().is_some_and(|index| index.kind == kind)
    }

    fn filter(&self) -> Option<String> {
        Some(self.index.as_ref()?.filter.as_ref()?.definition.clone())
    }

    /// `type`: 0 heap, 1 clustered, 2 nonclustered.
    fn kind(&self) -> (u8, &'static str) {
        match &self.index {
            None => (0, "HEAP"),
            Some(index) if index.clustered => (1, "CLUSTERED"),
            Some(_) => (2, "NONCLUSTERED"),
        }
    }
}

/// The heap, if the table is one, and the indexes by `index_id`.
fn of_table(table: &Table) -> Vec<Index> {
    let heap = Index { table: table.id, index: None, keeping: table.keeping };
    let heap = table.clustered().is_none().then_some(heap);
    let rest = table.indexes.iter().map(|index| Index {
        table: table.id,
        index: Some(index.clone()),
        keeping: index.keeping,
    });
    let mut indexes: Vec<Index> = heap.into_iter().chain(rest).collect();
    indexes.sort_by_key(Index::id);
    indexes
}

fn indexes(catalog: &Catalog<'_>) -> Result<Vec<Index>, SqlError> {
    Ok(catalog.of_tables(of_table))
}

fn index_columns() -> Columns<Index> {
    Columns::new()
        .add("object_id", |i: &Index| i.table)
        .add("name", |i| i.index.as_ref().map(|index| Name(index.name.clone())))
        .add("index_id", Index::id)
        .add("type", |i| i.kind().0)
        .add("type_desc", |i| Some(Desc(i.kind().1)))
        .add("is_unique", |i| Some(i.index.as_ref().is_some_and(|index| index.unique)))
        .add("data_space_id", |i| Some(i.keeping.space))
        .add("ignore_dup_key", off_null)
        .add("is_primary_key", |i| Some(i.is(IndexKind::PrimaryKey)))
        .add("is_unique_constraint", |i| Some(i.is(IndexKind::UniqueConstraint)))
        .add("fill_factor", |i| i.keeping.fill_factor)
        .add("is_padded", |i| Some(i.keeping.padded))
        .add("is_disabled", |i| Some(i.index.as_ref().is_some_and(|index| index.disabled)))
        .add_each(&["is_hypothetical", "is_ignored_in_optimization"], off_null)
        .add("allow_row_locks", |i| Some(i.keeping.row_locks))
        .add("allow_page_locks", |i| Some(i.keeping.page_locks))
        .add("has_filter", |i| Some(i.filter().is_some()))
        .add("filter_definition", |i| i.filter().map(Text))
        .add("compression_delay", null::<_, i32>)
        .add_each(&["suppress_dup_key_messages", "auto_created"], off_null)
        .add("optimize_for_sequential_key", |i| Some(i.keeping.sequential))
}

/// A column of an index.
struct IndexColumn {
    table: ObjectId,
    index: IndexId,
    /// From 1, keys before included columns.
    id: i32,
    column: ColumnId,
    /// From 1; 0 for an included column.
    key_ordinal: u8,
    descending: bool,
    included: bool,
    /// From 1; 0 for one that does not part rows.
    partition_ordinal: u8,
}

fn columns_of(table: ObjectId, index: &IndexDef) -> Vec<IndexColumn> {
    let keys = index.keys.iter().map(|key| (key.column, key.descending, true));
    let included = index.includes.iter().map(|column| (*column, false, false));
    let parted_by = index.keeping.parted_by;
    let numbered = (1..).zip(keys.chain(included)).map(|(id, (column, descending, is_key))| {
        let key_ordinal = if is_key { u8::try_from(id).unwrap_or(u8::MAX) } else { 0 };
        let partition_ordinal = u8::from(parted_by == Some(column));
        let included = !is_key;
        IndexColumn {
            table,
            index: index.id,
            id,
            column,
            key_ordinal,
            descending,
            included,
            partition_ordinal,
        }
    });
    let mut columns: Vec<IndexColumn> = numbered.collect();
    // What parts the rows is in the index whether it is named or not.
    if let Some(column) = parted_by.filter(|by| columns.iter().all(|known| known.column != *by)) {
        columns.push(parting_column(table, index.id, columns.len(), column));
    }
    columns
}

fn parting_column(table: ObjectId, index: IndexId, before: usize, column: ColumnId) -> IndexColumn {
    IndexColumn {
        table,
        index,
        id: i32::try_from(before + 1).unwrap_or(i32::MAX),
        column,
        key_ordinal: 0,
        descending: false,
        included: false,
        partition_ordinal: 1,
    }
}

fn index_column_rows(catalog: &Catalog<'_>) -> Result<Vec<IndexColumn>, SqlError> {
    Ok(catalog.of_tables(|table| {
        let mut indexes: Vec<&IndexDef> = table.indexes.iter().collect();
        indexes.sort_by_key(|index| index.id);
        let parted_heap = table.keeping.parted_by.filter(|_| table.clustered().is_none());
        let heap = parted_heap.map(|column| parting_column(table.id, 0, 0, column));
        let rest = indexes.into_iter().flat_map(|index| columns_of(table.id, index));
        heap.into_iter().chain(rest).collect::<Vec<_>>()
    }))
}

fn index_column_columns() -> Columns<IndexColumn> {
    Columns::new()
        .add("object_id", |c: &IndexColumn| c.table)
        .add("index_id", |c| c.index)
        .add("index_column_id", |c| c.id)
        .add("column_id", |c| c.column)
        .add("key_ordinal", |c| c.key_ordinal)
        .add("partition_ordinal", |c| c.partition_ordinal)
        .add("is_descending_key", |c| Some(c.descending))
        .add("is_included_column", |c| Some(c.included))
        .add("column_store_order_ordinal", |_| 0_u8)
}

/// A partition of an index or heap.
struct Partition {
    table: ObjectId,
    index: IndexId,
    keeping: Keeping,
    number: i32,
    rows: i64,
    pages: i64,
}

impl Partition {
    /// `partition_id` and `hobt_id`: above 2^56, as a user database's are.
    fn id(&self) -> i64 {
        let number = i64::from(self.number - 1) << 48;
        (1 << 56) + number + (i64::from(self.table) << 16) + i64::from(self.index)
    }
}

fn count(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn partitions_of(catalog: &Catalog<'_>, tables: &[Table]) -> Result<Vec<Partition>, SqlError> {
    let defs = catalog.txn.defs();
    let mut partitions = Vec::new();
    for table in tables {
        let (rows, bytes) = catalog.database().table_size(table.id).unwrap_or_default();
        for index in of_table(table) {
            let parted = index.keeping.parted_by.and_then(|column| table.position_of(column));
            let counts = match defs.function_of(index.keeping.space).zip(parted) {
                None => vec![rows],
                Some((function, at)) => {
                    let mut counts = vec![0; function.values.len() + 1];
                    let read = |row: &Row| counts[function.partition(&row[at]) - 1] += 1;
                    catalog.txn.each_current_row(table.id, read);
                    counts
                }
            };
            let pages = |own: u64| match rows {
                0 => 0,
                rows => count((bytes * own / rows).div_ceil(8192)),
            };
            partitions.extend((1..).zip(counts).map(|(number, own)| Partition {
                table: index.table,
                index: index.id(),
                keeping: index.keeping,
                number,
                rows: count(own),
                pages: pages(own),
            }));
        }
    }
    Ok(partitions)
}

/// Of every table: `public` sees `sys.partitions`, whoever owns what.
fn all_partitions(catalog: &Catalog<'_>) -> Result<Vec<Partition>, SqlError> {
    let mut tables = catalog.txn.tables();
    tables.retain(|table| !table.is_temporary());
    partitions_of(catalog, &tables)
}

fn partition_stats(catalog: &Catalog<'_>) -> Result<Vec<Partition>, SqlError> {
    catalog.need(State::DatabasePerformance)?;
    partitions_of(catalog, &catalog.tables())
}

fn partition_columns() -> Columns<Partition> {
    Columns::new()
        .add("partition_id", Partition::id)
        .add("object_id", |p| p.table)
        .add("index_id", |p| p.index)
        .add("partition_number", |p| p.number)
        .add("hobt_id", Partition::id)
        .add("rows", |p| Some(p.rows))
        .add("filestream_filegroup_id", |_| 0_i16)
        .add("data_compression", |p| p.keeping.compression)
        .add("data_compression_desc", |p| {
            Some(Desc(["NONE", "ROW", "PAGE"][usize::from(p.keeping.compression.min(2))]))
        })
        .add("xml_compression", |_| Some(false))
        .add("xml_compression_desc", |_| Some(super::definition::Var::<3>("OFF".to_owned())))
}

fn partition_stats_columns() -> Columns<Partition> {
    Columns::new()
        .add("partition_id", |p: &Partition| Some(p.id()))
        .add("object_id", |p| p.table)
        .add("index_id", |p| p.index)
        .add("partition_number", |p| p.number)
        .add_each(
            &["in_row_data_page_count", "in_row_used_page_count", "in_row_reserved_page_count"],
            |p: &Partition| Some(p.pages),
        )
        .add_each(
            &[
                "lob_used_page_count",
                "lob_reserved_page_count",
                "row_overflow_used_page_count",
                "row_overflow_reserved_page_count",
            ],
            |_| Some(0_i64),
        )
        .add_each(&["used_page_count", "reserved_page_count"], |p: &Partition| Some(p.pages))
        .add("row_count", |p| Some(p.rows))
}
