//! RocksDB's memory under the spool, which no backlog makes larger.
//!
//! | what | bytes |
//! | --- | --- |
//! | memtables: of the records two of 8 MiB, of the index two of 2 MiB, each over by one batch (`spool::BATCH`) at most; writers wait when the sum of both families is above 24 MiB | 24 MiB |
//! | cache of blocks, shared by both families | 4 MiB |
//! | index blocks of open files: 128 of them, blocks of 16 KiB in files of 8 MiB | 3 MiB |
//!
//! What memtables hold stands in the write-ahead log, too, and is read from there when the spool is
//! opened: their size is what an opening after a crash costs.
//!
//! Keys rise, so that files do not overlap and RocksDB moves them from level to level without writing
//! them again. A deleted range over all of them would end that; see `Spool::trim`.

use rocksdb::{BlockBasedOptions, Cache, ColumnFamilyDescriptor, Options, WriteBufferManager};

const RECORDS_BUFFER: usize = 8 << 20;
const UNITS_BUFFER: usize = 2 << 20;
const ALL_BUFFERS: usize = 24 << 20;
const BLOCK_CACHE: usize = 4 << 20;
const BLOCK: usize = 16 << 10;
const OPEN_FILES: i32 = 128;
/// Beyond this the family with the oldest entries in the write-ahead log is flushed.
const WAL_BYTES: u64 = 16 << 20;

/// Options of the database.
pub(super) fn database() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_max_total_wal_size(WAL_BYTES);
    options.set_keep_log_file_num(2);
    options.set_max_open_files(OPEN_FILES);
    // Reads files when it is opened, only to choose compactions better.
    options.set_skip_stats_update_on_db_open(true);
    options
        .set_write_buffer_manager(&WriteBufferManager::new_write_buffer_manager(ALL_BUFFERS, true));
    options
}

/// The families of records and of their index.
pub(super) fn families(records: &str, units: &str) -> [ColumnFamilyDescriptor; 2] {
    let cache = Cache::new_lru_cache(BLOCK_CACHE);
    [(records, RECORDS_BUFFER), (units, UNITS_BUFFER)].map(|(name, buffer)| {
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(&cache);
        table.set_block_size(BLOCK);
        let mut options = Options::default();
        options.set_block_based_table_factory(&table);
        options.set_write_buffer_size(buffer);
        options.set_max_write_buffer_number(2);
        options.set_target_file_size_base(RECORDS_BUFFER as u64);
        // Only below the first level can files be dropped whole.
        options.set_level_zero_file_num_compaction_trigger(1);
        options.set_compression_type(rocksdb::DBCompressionType::Lz4);
        ColumnFamilyDescriptor::new(name, options)
    })
}
