//! Between which offsets of the snapshot stream the rows of an ended attempt are.
//!
//! The range must hold every record of the attempt and none of an earlier attempt at the same chunk.
//! Records of other chunks may be in it. What is exact about it costs a wait for the log's
//! acknowledgements; so the lower bound is the least that is right:
//!
//! - everything that earlier writers appended to a partition lies below the first record that this one
//!   does, whose offset is asked for once;
//! - everything that this writer appended before an offset was last asked for lies at or below that
//!   offset. It is asked for at the end of each attempt with rows, and after an attempt that failed,
//!   before the next one at the same chunk begins.
//!
//! The upper bound is the offset of the newest record when the attempt's last one has been appended.

use std::collections::HashMap;

use lockstep_common::Failure;

use crate::output::Output;

/// What is known of the partitions.
pub struct Offsets {
    partitions: u32,
    /// No later record is below this.
    floors: HashMap<u32, u64>,
}

impl Offsets {
    /// Of a snapshot stream with so many partitions.
    pub fn new(partitions: u32) -> Self {
        Offsets { partitions: partitions.max(1), floors: HashMap::new() }
    }

    /// The partition of a reader.
    pub fn partition(&self, reader: u32) -> u32 {
        reader % self.partitions
    }

    /// A lower bound of an attempt's records, of which the first has just been appended.
    pub async fn first(&mut self, output: &mut Output, partition: u32) -> Result<u64, Failure> {
        if let Some(floor) = self.floors.get(&partition) {
            return Ok(*floor);
        }
        // Nothing else was appended to the partition by this writer.
        let first = output.newest_rows(partition).await?.unwrap_or_default();
        self.floors.insert(partition, first);
        Ok(first)
    }

    /// The offset of the newest record.
    pub async fn newest(
        &mut self,
        output: &mut Output,
        partition: u32,
    ) -> Result<Option<u64>, Failure> {
        let newest = output.newest_rows(partition).await?;
        if let Some(newest) = newest {
            self.floors.insert(partition, newest + 1);
        }
        Ok(newest)
    }
}
