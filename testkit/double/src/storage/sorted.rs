//! A sorted set in pages. Where keys come in order a new page is begun behind a full one, so that
//! pages stay full; `BTreeSet` leaves its nodes half empty then.

use std::ops::Bound;

/// Items in a page at most.
const PAGE: usize = 256;

/// A sorted set.
#[derive(Debug)]
pub(super) struct Sorted<T> {
    /// None is empty.
    pages: Vec<Vec<T>>,
}

impl<T> Default for Sorted<T> {
    fn default() -> Sorted<T> {
        Sorted { pages: Vec::new() }
    }
}

/// A place between two items: page, and item in it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Gap(usize, usize);

impl<T: Ord> Sorted<T> {
    /// The first page whose last item is not below `item`.
    fn page_of(&self, item: &T) -> usize {
        self.pages.partition_point(|page| page.last().is_some_and(|last| last < item))
    }

    pub(super) fn insert(&mut self, item: T) {
        let at = self.page_of(&item);
        if at == self.pages.len() {
            match self.pages.last_mut() {
                Some(last) if last.len() < PAGE => last.push(item),
                _ => {
                    let mut page = Vec::with_capacity(PAGE);
                    page.push(item);
                    self.pages.push(page);
                }
            }
            return;
        }
        let page = &mut self.pages[at];
        let Err(place) = page.binary_search(&item) else {
            return;
        };
        page.insert(place, item);
        if page.len() > PAGE {
            let upper = page.split_off(PAGE / 2);
            self.pages.insert(at + 1, upper);
        }
    }

    pub(super) fn remove(&mut self, item: &T) {
        let at = self.page_of(item);
        let Some(page) = self.pages.get_mut(at) else {
            return;
        };
        if let Ok(place) = page.binary_search(item) {
            page.remove(place);
            if page.is_empty() {
                self.pages.remove(at);
            }
        }
    }

    /// Before the first item that is at least, or above, `item`.
    fn gap(&self, item: &T, above: bool) -> Gap {
        let below = |other: &T| if above { other <= item } else { other < item };
        let page = self.pages.partition_point(|page| page.last().is_some_and(below));
        let place = self.pages.get(page).map_or(0, |page| page.partition_point(below));
        Gap(page, place)
    }

    fn gaps(&self, lower: Bound<&T>, upper: Bound<&T>) -> (Gap, Gap) {
        let from = match lower {
            Bound::Unbounded => Gap(0, 0),
            Bound::Included(item) => self.gap(item, false),
            Bound::Excluded(item) => self.gap(item, true),
        };
        let to = match upper {
            Bound::Unbounded => Gap(self.pages.len(), 0),
            Bound::Included(item) => self.gap(item, true),
            Bound::Excluded(item) => self.gap(item, false),
        };
        (from, to.max(from))
    }

    /// Items in a range, in either direction; nothing where the bounds cross.
    pub(super) fn range(
        &self,
        lower: Bound<&T>,
        upper: Bound<&T>,
    ) -> impl DoubleEndedIterator<Item = &T> {
        let (from, to) = self.gaps(lower, upper);
        let pages = from.0..(to.0 + 1).min(self.pages.len());
        pages.flat_map(move |number| {
            let page = &self.pages[number];
            let start = if number == from.0 { from.1 } else { 0 };
            let end = if number == to.0 { to.1 } else { page.len() };
            page[start.min(end)..end].iter()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn bound(kind: u8, value: &u16) -> Bound<&u16> {
        match kind % 3 {
            0 => Bound::Unbounded,
            1 => Bound::Included(value),
            _ => Bound::Excluded(value),
        }
    }

    proptest! {
        #[test]
        fn it_holds_what_a_set_holds(
            changes in prop::collection::vec((any::<bool>(), any::<bool>(), 0..3000u16), 0..4000),
            ranges in prop::collection::vec((any::<u8>(), 0..3000u16, any::<u8>(), 0..3000u16), 8),
        ) {
            let (mut sorted, mut set) = (Sorted::default(), BTreeSet::new());
            let mut next = 0;
            for (adds, in_order, value) in changes {
                let value = if in_order { next += 1; next } else { value };
                if adds || in_order {
                    sorted.insert(value);
                    set.insert(value);
                } else {
                    sorted.remove(&value);
                    set.remove(&value);
                }
            }
            for (from, low, to, high) in ranges {
                let (lower, upper) = (bound(from, &low), bound(to, &high));
                let wanted: Vec<&u16> = set
                    .iter()
                    .filter(|v| std::ops::RangeBounds::contains(&(lower, upper), *v))
                    .collect();
                let forward: Vec<&u16> = sorted.range(lower, upper).collect();
                prop_assert_eq!(&forward, &wanted);
                let mut backward: Vec<&u16> = sorted.range(lower, upper).rev().collect();
                backward.reverse();
                prop_assert_eq!(&backward, &wanted);
            }
        }
    }
}
