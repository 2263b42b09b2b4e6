//! The chains of a table by row id, in pages: ids are handed out in order, so that pages are full.

use std::collections::BTreeMap;

use super::RowId;
use super::chain::Chain;

/// Chains in a page.
const PAGE: u64 = 64;

#[derive(Debug)]
struct Page {
    slots: Box<[Option<Chain>]>,
    used: usize,
}

/// All chains of a table.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pages: BTreeMap<u64, Page>,
    len: usize,
}

fn place(id: RowId) -> (u64, usize) {
    // The remainder of a division by a page's size fits.
    (id.0 / PAGE, (id.0 % PAGE) as usize)
}

impl Rows {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, id: RowId) -> Option<&Chain> {
        let (page, slot) = place(id);
        self.pages.get(&page)?.slots[slot].as_ref()
    }

    pub(super) fn get_mut(&mut self, id: RowId) -> Option<&mut Chain> {
        let (page, slot) = place(id);
        self.pages.get_mut(&page)?.slots[slot].as_mut()
    }

    /// Puts a new row's chain in.
    pub(super) fn insert(&mut self, id: RowId, chain: Chain) {
        let (page, slot) = place(id);
        let page = self.pages.entry(page).or_insert_with(|| Page {
            slots: std::iter::repeat_with(|| None).take(PAGE as usize).collect(),
            used: 0,
        });
        if page.slots[slot].replace(chain).is_none() {
            page.used += 1;
            self.len += 1;
        }
    }

    pub(super) fn remove(&mut self, id: RowId) -> Option<Chain> {
        let (number, slot) = place(id);
        let page = self.pages.get_mut(&number)?;
        let chain = page.slots[slot].take()?;
        page.used -= 1;
        self.len -= 1;
        if page.used == 0 {
            self.pages.remove(&number);
        }
        Some(chain)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (RowId, &Chain)> {
        self.pages.iter().flat_map(chains)
    }

    /// Ids behind one, ascending.
    pub(super) fn after(&self, id: Option<RowId>) -> impl Iterator<Item = RowId> {
        let first = id.map_or(0, |id| place(id).0);
        self.pages
            .range(first..)
            .flat_map(chains)
            .map(|(found, _)| found)
            .filter(move |found| id.is_none_or(|id| *found > id))
    }

    /// Ids before one, descending.
    pub(super) fn before(&self, id: Option<RowId>) -> impl Iterator<Item = RowId> {
        let last = id.map_or(u64::MAX, |id| place(id).0);
        self.pages
            .range(..=last)
            .rev()
            .flat_map(|page| chains(page).rev())
            .map(|(found, _)| found)
            .filter(move |found| id.is_none_or(|id| *found < id))
    }
}

fn chains<'a>(
    (number, page): (&'a u64, &'a Page),
) -> impl DoubleEndedIterator<Item = (RowId, &'a Chain)> {
    let first = number * PAGE;
    page.slots
        .iter()
        .enumerate()
        .filter_map(move |(at, chain)| Some((RowId(first + at as u64), chain.as_ref()?)))
}
