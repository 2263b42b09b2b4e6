//! Where each instance has its next change: what makes tables without changes cost nothing.
//!
//! # What is known, and why it stays true
//!
//! Asked for an instance's first change in `(after, horizon]`, where the horizon is a closed LSN, the
//! server names one or none. Nothing will ever be added at or below a closed LSN, so only cleanup can
//! have made the answer wrong: it may have taken changes away before the question came. Cleanup raises
//! the instance's low-water mark before it deletes. So an answer becomes *proved* when the mark, read
//! after the answer, has not passed `after`. A proved answer is about the past, and no later cleanup
//! changes it: the instance has no change in `(after, first)`, or none in `(after, horizon]`.
//!
//! So an instance is asked again only when a window comes to what is not known of it: one without
//! changes once for each horizon, and the horizon is the newest closed LSN, however many windows behind
//! it the reader is. [`ChangeProbe::plan`] takes everything that is not known to be quiet; to know less
//! costs a read that brings nothing, never a change.
//!
//! # What must be proved before anything of a window is written down
//!
//! [`ChangeProbe::to_guard`]: every instance whose answer is not proved yet, those without changes too, and
//! every instance that is read, whose rows cleanup may have been taking away all the time. An instance
//! that was proved to be quiet to the window's end and beyond is not among them, and need not be.
//!
//! What is read is not known any more, whether it was read to its end or not; and what was not proved
//! when the next window is planned is forgotten ([`ChangeProbe::forget`]).

use super::lsn::Lsn;

/// Instances that are asked in one statement, always the same ones: the server prepares a statement
/// of this size once, not for every selection of tables.
pub const GROUP: usize = 100;
/// So few instances are read without being asked: a read that brings nothing costs what a question
/// does.
const NOT_WORTH_ASKING: usize = 2;

/// What is known of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// It has no change through this LSN. Beyond it nothing is known.
    Quiet(Lsn),
    /// Its next change is at this LSN. Beyond it nothing is known.
    Next(Lsn),
}

const NOTHING: Known = Known::Quiet(Lsn::ZERO);

impl Known {
    /// Whether it must be asked before it can be said if it has changes through `through`.
    fn is_open(self, through: Lsn) -> bool {
        matches!(self, Known::Quiet(quiet) if quiet < through)
    }

    fn may_have_changes(self, through: Lsn) -> bool {
        match self {
            Known::Quiet(quiet) => quiet < through,
            Known::Next(next) => next <= through,
        }
    }
}

/// What is known of the followed instances after the cursor.
#[derive(Debug, Default)]
pub struct ChangeProbe {
    known: Vec<Known>,
    /// Whose answers are not proved, ascending.
    unproved: Vec<usize>,
    /// What is read of the window that was planned last, ascending.
    planned: Vec<usize>,
}

impl ChangeProbe {
    /// Of so many instances, of which nothing is known.
    pub fn new(instances: usize) -> Self {
        ChangeProbe { known: vec![NOTHING; instances], ..ChangeProbe::default() }
    }

    /// Before a window is planned: forgets what was not proved, and what was planned to be read.
    pub fn forget(&mut self) {
        for i in self.unproved.drain(..).chain(self.planned.drain(..)) {
            self.known[i] = NOTHING;
        }
    }

    /// Whom to ask so that a window can be planned that ends at `through`: whole groups.
    pub fn to_ask(&self, through: Lsn) -> Vec<usize> {
        let open = |known: &Known| known.is_open(through);
        if self.known.iter().filter(|known| open(known)).count() <= NOT_WORTH_ASKING {
            return Vec::new();
        }
        let group = |i: usize| i / GROUP * GROUP..((i / GROUP + 1) * GROUP).min(self.known.len());
        let asks = |i: &usize| self.known[group(*i)].iter().any(open);
        (0..self.known.len()).filter(asks).collect()
    }

    /// Takes the answers of those who were asked, over `(cursor, horizon]`, for a window that ends at
    /// `through`. What was known of one already stays known: it may be proved.
    pub fn answered(
        &mut self,
        asked: &[usize],
        firsts: &[Option<Lsn>],
        through: Lsn,
        horizon: Lsn,
    ) {
        for (i, first) in asked.iter().zip(firsts) {
            if self.known[*i].is_open(through) {
                self.known[*i] = first.map_or(Known::Quiet(horizon), Known::Next);
                self.unproved.push(*i);
            }
        }
    }

    /// What to read of a window that ends at `through`: all that is not known to be without changes.
    pub fn plan(&mut self, through: Lsn) -> &[usize] {
        let may = |i: &usize| self.known[*i].may_have_changes(through);
        self.planned = (0..self.known.len()).filter(may).collect();
        &self.planned
    }

    /// What is read of the window that was planned last.
    pub fn planned(&self) -> &[usize] {
        &self.planned
    }

    /// Whose low-water marks prove that what was received of that window is complete.
    pub fn to_guard(&self) -> Vec<usize> {
        let mut guarded: Vec<usize> = self.unproved.iter().chain(&self.planned).copied().collect();
        guarded.sort_unstable();
        guarded.dedup();
        guarded
    }

    /// The marks of [`ChangeProbe::to_guard`] were read, and none has passed the cursor.
    pub fn proved(&mut self) {
        self.unproved.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    fn lsn(n: u64) -> Lsn {
        let mut bytes = [0; 10];
        bytes[2..].copy_from_slice(&n.to_be_bytes());
        Lsn::new(bytes)
    }

    /// Change tables, and a reader that asks, reads and proves as the source does.
    struct Model {
        /// Changes of each instance that are still there.
        there: Vec<BTreeSet<u64>>,
        /// Low-water marks.
        marks: Vec<u64>,
        probe: ChangeProbe,
        asked: Vec<usize>,
    }

    impl Model {
        fn new(changes: Vec<BTreeSet<u64>>) -> Self {
            let instances = changes.len();
            Model {
                there: changes,
                marks: vec![1; instances],
                probe: ChangeProbe::new(instances),
                asked: vec![0; instances],
            }
        }

        fn clean(&mut self, instance: usize, mark: u64) {
            self.marks[instance] = self.marks[instance].max(mark);
            self.there[instance] = self.there[instance].split_off(&self.marks[instance]);
        }

        fn plan(&mut self, cursor: u64, through: u64, horizon: u64) {
            self.probe.forget();
            let asked = self.probe.to_ask(lsn(through));
            let first =
                |i: &usize| self.there[*i].range(cursor + 1..=horizon).next().map(|n| lsn(*n));
            let firsts: Vec<_> = asked.iter().map(first).collect();
            asked.iter().for_each(|i| self.asked[*i] += 1);
            self.probe.answered(&asked, &firsts, lsn(through), lsn(horizon));
            self.probe.plan(lsn(through));
        }

        fn read(&self, cursor: u64, through: u64) -> Vec<BTreeSet<u64>> {
            let mut read = vec![BTreeSet::new(); self.there.len()];
            for i in self.probe.planned() {
                read[*i] = self.there[*i].range(cursor + 1..=through).copied().collect();
            }
            read
        }

        /// Whether nothing that was received can be incomplete.
        fn verify(&mut self, cursor: u64) -> bool {
            let proved = self.probe.to_guard().iter().all(|i| self.marks[*i] <= cursor + 1);
            if proved {
                self.probe.proved();
            }
            proved
        }
    }

    fn instances() -> impl Strategy<Value = Vec<BTreeSet<u64>>> {
        prop::collection::vec(prop::collection::btree_set(1u64..60, 0..6), 1..8)
    }

    proptest! {
        /// Whatever cleanup does at any moment, what is proved of a window is all that ever was in
        /// it; and windows that are interrupted change nothing.
        #[test]
        fn what_is_proved_is_complete(
            all in instances(),
            steps in prop::collection::vec((1u64..9, 0u64..40, any::<bool>()), 1..20),
            cleanups in prop::collection::vec((0usize..60, 0usize..8, 1u64..60), 0..4),
        ) {
            let mut model = Model::new(all.clone());
            let (mut cursor, mut moment) = (0, 0);
            let mut clean = |model: &mut Model| {
                for (_, instance, mark) in cleanups.iter().filter(|(at, ..)| *at == moment) {
                    model.clean(instance % all.len(), *mark);
                }
                moment += 1;
            };
            for (length, ahead, interrupted) in steps {
                let through = cursor + length;
                clean(&mut model);
                model.plan(cursor, through, through + ahead);
                clean(&mut model);
                let read = model.read(cursor, through);
                clean(&mut model);
                if !model.verify(cursor) {
                    // A gap: nothing more is written.
                    return Ok(());
                }
                let reached = if interrupted { cursor + length.div_ceil(2) } else { through };
                for (read, all) in read.iter().zip(&all) {
                    let written: Vec<_> = read.range(..=reached).collect();
                    prop_assert_eq!(written, all.range(cursor + 1..=reached).collect::<Vec<_>>());
                }
                cursor = reached;
            }
        }
    }

    #[test]
    fn one_without_changes_is_asked_once_for_each_horizon() {
        let busy: BTreeSet<u64> = (1..=40).collect();
        let mut model = Model::new([vec![busy], vec![BTreeSet::new(); 5]].concat());
        for cursor in 0..40 {
            // The reader is behind, and then it is not any more.
            model.plan(cursor, cursor + 1, 36.max(cursor + 1));
            assert_eq!(model.probe.planned(), [0]);
            assert!(model.verify(cursor));
        }
        assert_eq!(model.asked[1..], [5; 5]);
    }

    #[test]
    fn cleanup_of_what_looks_unchanged_is_seen_before_anything_is_written() {
        let mut model = Model::new(vec![BTreeSet::from([3]); 4]);
        model.clean(2, 4);
        model.plan(0, 5, 9);
        assert_eq!(model.probe.planned(), [0, 1, 3]);
        assert!(!model.verify(0));
        // Later it does no harm: what is known of the instance is proved.
        let mut model =
            Model::new([vec![BTreeSet::new(); 3], vec![BTreeSet::from([1, 6])]].concat());
        model.plan(0, 5, 9);
        assert!(model.verify(0));
        model.clean(2, 9);
        model.plan(5, 9, 9);
        assert_eq!(model.probe.planned(), [3]);
        assert!(model.verify(5));
        // Of what is read it does.
        model.clean(3, 9);
        assert!(!model.verify(5));
    }

    #[test]
    fn groups_are_asked_whole_and_only_where_something_is_not_known() {
        let mut probe = ChangeProbe::new(2 * GROUP + 3);
        assert_eq!(probe.to_ask(lsn(1)).len(), 2 * GROUP + 3);
        let all: Vec<usize> = (0..2 * GROUP + 3).collect();
        let mut firsts = vec![None; all.len()];
        firsts[0] = Some(lsn(1));
        firsts[1] = Some(lsn(1));
        firsts[GROUP] = Some(lsn(1));
        probe.answered(&all, &firsts, lsn(1), lsn(9));
        assert_eq!(probe.plan(lsn(1)), [0, 1, GROUP]);
        probe.proved();
        probe.forget();
        assert_eq!(probe.to_ask(lsn(2)), (0..2 * GROUP).collect::<Vec<_>>());
        // An answer about what is known already changes nothing of it.
        probe.answered(&[5, 0], &[Some(lsn(2)), None], lsn(2), lsn(3));
        assert_eq!(probe.plan(lsn(2)), [1, GROUP]);
    }
}
