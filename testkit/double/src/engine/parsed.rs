//! Batches that are kept parsed, as SQL Server keeps plans and uses them again (Microsoft, *Query
//! processing architecture guide*, execution plan caching and reuse).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::syntax::ast::Batch;
use super::syntax::parse_batch;
use crate::SqlError;

/// Characters of all texts that are kept, in bytes.
const KEPT: usize = 4 << 20;
/// What a text counts at least.
const LEAST: usize = 8 << 10;

/// Parsed batches by their text, the least recently used of them forgotten first.
#[derive(Default)]
pub struct ParsedBatches(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    batches: HashMap<String, (Arc<Batch>, u64)>,
    uses: u64,
    bytes: usize,
}

impl ParsedBatches {
    /// A batch, parsed once as long as it is used.
    ///
    /// # Errors
    /// 102 and its kin.
    pub fn parse(&self, text: &str) -> Result<Arc<Batch>, SqlError> {
        if let Some(batch) = self.lock().find(text) {
            return Ok(batch);
        }
        // Outside the lock: it may take long.
        let batch = Arc::new(parse_batch(text)?);
        self.lock().keep(text, Arc::clone(&batch));
        Ok(batch)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn find(&mut self, text: &str) -> Option<Arc<Batch>> {
        self.uses += 1;
        let (batch, used) = self.batches.get_mut(text)?;
        *used = self.uses;
        Some(Arc::clone(batch))
    }

    fn keep(&mut self, text: &str, batch: Arc<Batch>) {
        if self.bytes + weight(text) > KEPT {
            // Half of them at once, so that a miss rarely pays for this.
            let mut uses: Vec<u64> = self.batches.values().map(|(_, used)| *used).collect();
            uses.sort_unstable();
            let limit = uses.get(uses.len() / 2).copied().unwrap_or_default();
            self.batches.retain(|_, (_, used)| *used > limit);
            self.bytes = self.batches.keys().map(|text| weight(text)).sum();
        }
        if self.bytes + weight(text) <= KEPT
            && self.batches.insert(text.to_owned(), (batch, self.uses)).is_none()
        {
            self.bytes += weight(text);
        }
    }
}

fn weight(text: &str) -> usize {
    text.len().max(LEAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_in_use_stays_parsed_and_all_of_them_are_bounded() {
        let batches = ParsedBatches::default();
        let used = batches.parse("SELECT 1").unwrap();
        for n in 0..200 {
            let long = format!("SELECT {n} -- {}", "x".repeat(100 << 10));
            batches.parse(&long).unwrap();
            assert!(batches.lock().bytes <= KEPT);
            assert!(Arc::ptr_eq(&used, &batches.parse("SELECT 1").unwrap()));
        }
        let kept = batches.lock();
        assert_eq!(kept.bytes, kept.batches.keys().map(|text| weight(text)).sum::<usize>());
        assert!(!kept.batches.keys().any(|text| text.starts_with("SELECT 0 ")));
    }

    #[test]
    fn a_text_longer_than_all_that_is_kept_runs_all_the_same() {
        let batches = ParsedBatches::default();
        batches.parse(&format!("SELECT 1 -- {}", "x".repeat(KEPT))).unwrap();
        assert_eq!(batches.lock().bytes, 0);
    }
}
