//! The embedded log's writer: collects a log transaction in memory and commits it as one batch.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use lockstep_common::Failure;

use super::store::Store;
use crate::blocking::blocking;
use crate::limits::{Limits, Open, weight};
use crate::{Entry, Stream, Writer};

pub(super) struct EmbeddedWriter {
    store: Arc<Store>,
    generation: u64,
    limits: Limits,
    open: Open,
    pending: Vec<Entry>,
    /// Offset of the newest entry of each stream: the store numbers them without a gap, and nobody
    /// but this writer can commit as long as its generation is the youngest.
    newest: HashMap<Stream, u64>,
}

impl EmbeddedWriter {
    pub(super) fn new(store: Arc<Store>, generation: u64, limits: Limits) -> Self {
        EmbeddedWriter {
            store,
            generation,
            limits,
            open: Open::new(),
            pending: Vec::new(),
            newest: HashMap::new(),
        }
    }
}

#[async_trait]
impl Writer for EmbeddedWriter {
    async fn append(&mut self, entries: Vec<Entry>) -> Result<(), Failure> {
        self.store.check_generation(self.generation)?;
        let more = entries.iter().map(weight).sum();
        if self.open.is_full_for(more, &self.limits) {
            self.commit().await?;
        }
        for entry in entries {
            if self.open.is_over(&self.limits) {
                self.commit().await?;
            }
            if self.pending.is_empty() {
                self.open = Open::new();
            }
            self.open.add(weight(&entry));
            let offset = match self.newest.get(&entry.stream) {
                Some(newest) => newest + 1,
                None => self.store.bounds(entry.stream)?.end,
            };
            self.newest.insert(entry.stream, offset);
            self.pending.push(entry);
        }
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), Failure> {
        let entries = std::mem::take(&mut self.pending);
        self.open = Open::new();
        let (store, generation) = (self.store.clone(), self.generation);
        blocking(move || store.commit(generation, &entries)).await?
    }
    async fn newest(&mut self, stream: Stream) -> Result<Option<u64>, Failure> {
        self.store.check_generation(self.generation)?;
        Ok(self.newest.get(&stream).copied())
    }
}
