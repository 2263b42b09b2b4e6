//! The embedded log's writer: collects a log transaction in memory and commits it as one batch.

use std::sync::Arc;

use async_trait::async_trait;
use lockstep_common::Failure;

use super::blocking;
use super::store::Store;
use crate::limits::{Limits, Open, weight};
use crate::{Entry, Writer};

pub(super) struct EmbeddedWriter {
    store: Arc<Store>,
    generation: u64,
    limits: Limits,
    open: Open,
    pending: Vec<Entry>,
}

impl EmbeddedWriter {
    pub(super) fn new(store: Arc<Store>, generation: u64, limits: Limits) -> Self {
        EmbeddedWriter { store, generation, limits, open: Open::new(), pending: Vec::new() }
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
            self.pending.push(entry);
        }
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), Failure> {
        let entries = std::mem::take(&mut self.pending);
        self.open = Open::new();
        let (store, generation) = (self.store.clone(), self.generation);
        blocking(move || store.commit(generation, &entries)).await
    }
}
