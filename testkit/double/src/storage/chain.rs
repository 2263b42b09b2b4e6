//! Version chains: who wrote which content of a row, and who sees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering as Atomic};

use super::TxnId;
use super::packed::Packed;
use super::table::same_stored_key;

/// A transaction as its versions know it. Read and written under the database's mutex only.
#[derive(Debug)]
pub(super) struct TxnCell {
    pub(super) id: TxnId,
    /// 0 while open, else its place in the order of commits.
    commit: AtomicU64,
}

impl TxnCell {
    pub(super) fn open(id: TxnId) -> Arc<TxnCell> {
        Arc::new(TxnCell { id, commit: AtomicU64::new(0) })
    }

    /// A transaction long over.
    pub(super) fn past() -> Arc<TxnCell> {
        Arc::new(TxnCell { id: 0, commit: AtomicU64::new(1) })
    }

    pub(super) fn committed(&self) -> Option<u64> {
        match self.commit.load(Atomic::Relaxed) {
            0 => None,
            seq => Some(seq),
        }
    }

    pub(super) fn commit(&self, seq: u64) {
        self.commit.store(seq, Atomic::Relaxed);
    }
}

/// What a view may see.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight {
    /// Commits up to here.
    pub(super) seq: u64,
    /// This transaction's own writes …
    pub(super) txn: TxnId,
    /// … up to here.
    pub(super) own: u64,
    /// Everybody's heads (NOLOCK).
    pub(super) dirty: bool,
}

#[derive(Debug)]
pub(super) struct Version {
    pub(super) txn: Arc<TxnCell>,
    /// Running number of the write.
    pub(super) write: u64,
    /// `None` is a deletion.
    pub(super) row: Option<Packed>,
}

impl Version {
    pub(super) fn visible(&self, sight: &Sight) -> bool {
        if sight.dirty {
            return true;
        }
        if self.txn.id == sight.txn {
            return self.write <= sight.own;
        }
        self.txn.committed().is_some_and(|seq| seq <= sight.seq)
    }
}

#[derive(Debug)]
pub(super) struct Chain {
    pub(super) head: Version,
    /// Boxed, as hardly any row has any: a vector would take three words in each.
    #[allow(clippy::box_collection)]
    older: Option<Box<Vec<Version>>>,
}

impl Chain {
    /// A row with one version.
    pub(super) fn new(head: Version) -> Chain {
        Chain { head, older: None }
    }

    /// Versions behind the head, newest last.
    pub(super) fn older(&self) -> &[Version] {
        self.older.as_deref().map_or(&[], Vec::as_slice)
    }

    /// Puts a version at the head.
    pub(super) fn push(&mut self, version: Version) {
        let before = std::mem::replace(&mut self.head, version);
        self.older.get_or_insert_default().push(before);
    }

    /// Takes the head off, if there is a version behind it.
    pub(super) fn pop(&mut self) -> Option<Version> {
        let versions = self.older.as_mut()?;
        let before = versions.pop()?;
        if versions.is_empty() {
            self.older = None;
        }
        Some(std::mem::replace(&mut self.head, before))
    }

    /// Takes off the oldest versions.
    pub(super) fn drop_oldest(&mut self, count: usize) -> Vec<Version> {
        let Some(versions) = self.older.as_mut() else {
            return Vec::new();
        };
        let dropped = versions.drain(..count.min(versions.len())).collect();
        if versions.is_empty() {
            self.older = None;
        }
        dropped
    }

    pub(super) fn head(&self) -> &Version {
        &self.head
    }

    /// The transaction whose uncommitted version is the head.
    pub(super) fn writer(&self) -> Option<TxnId> {
        self.head.txn.committed().is_none().then_some(self.head.txn.id)
    }

    /// Newest committed version.
    pub(super) fn committed(&self) -> Option<&Version> {
        self.versions().find(|version| version.txn.committed().is_some())
    }

    pub(super) fn seen(&self, sight: &Sight) -> Option<&Packed> {
        self.versions().find(|version| version.visible(sight))?.row.as_ref()
    }

    pub(super) fn versions(&self) -> impl Iterator<Item = &Version> {
        std::iter::once(&self.head).chain(self.older().iter().rev())
    }

    /// What the row may turn out to be: every uncommitted version, and the newest committed one.
    pub(super) fn outcomes(&self) -> impl Iterator<Item = &Packed> {
        let mut committed = false;
        self.versions()
            .take_while(move |version| {
                !std::mem::replace(&mut committed, version.txn.committed().is_some())
            })
            .filter_map(|version| version.row.as_ref())
    }

    /// Whether a version that `counts` has the key of `row`.
    pub(super) fn has_key(
        &self,
        positions: &[usize],
        row: &Packed,
        counts: impl Fn(&Packed) -> bool,
    ) -> bool {
        self.versions()
            .filter_map(|version| version.row.as_ref())
            .any(|other| counts(other) && same_stored_key(positions, other, row))
    }
}
