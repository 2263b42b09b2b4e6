use lockstep_common::codec::{FragmentHeader, Header, Kind};
use lockstep_common::{Disposition, Failure, Position};
use proptest::prelude::*;
use uuid::Uuid;

use super::{Action, Assembler, Outcome};
use crate::unit::{Mark, UnitKind};

const LOG: Uuid = Uuid::from_u128(7);

fn at(n: u64) -> Position {
    Position::new(1, &n.to_be_bytes()).expect("eight bytes fit")
}

fn header(epoch: u64, n: u64, after: u64, kind: Kind) -> Header {
    Header {
        log_id: LOG,
        epoch,
        position: at(n),
        after: at(after),
        time: 0,
        skippable: false,
        kind,
        fragment: None,
    }
}

fn fragment(epoch: u64, n: u64, after: u64, index: u32, last: bool) -> Header {
    let fragment = FragmentHeader { index, last, changes_before: u64::from(index) };
    Header { fragment: Some(fragment), ..header(epoch, n, after, Kind::Fragment) }
}

fn from(n: u64) -> Assembler {
    Assembler::new(Some(&Mark { log_id: LOG, position: at(n), next_offset: 0, time: 0 }))
}

/// The brackets of chunks are records of a load; a marker is where its name says so.
fn push(assembler: &mut Assembler, offset: u64, header: &Header) -> Result<Outcome, Failure> {
    let load = matches!(header.kind, Kind::ChunkBegin | Kind::ChunkEnd);
    assembler.push(offset, header, load)
}

/// What is completed by each record, and which of them void what was before.
fn completed(assembler: &mut Assembler, headers: &[Header]) -> Vec<(u64, bool)> {
    let mut units = Vec::new();
    for (offset, header) in headers.iter().enumerate() {
        let Outcome { voided, action } = push(assembler, offset as u64, header).expect("in order");
        if let Action::Complete(unit) = action {
            units.push((unit.first_offset, voided));
        }
    }
    units
}

fn code(assembler: &mut Assembler, headers: &[Header]) -> &'static str {
    for (offset, header) in headers.iter().enumerate() {
        if let Err(failure) = push(assembler, offset as u64, header) {
            assert_eq!(failure.disposition(), Disposition::Halt);
            return failure.code.as_str();
        }
    }
    "none"
}

#[test]
fn whole_transactions_and_progress_come_out_in_order() {
    let headers = [
        header(1, 0, 0, Kind::Epoch),
        fragment(1, 1, 0, 0, true),
        fragment(1, 2, 1, 0, false),
        fragment(1, 2, 1, 1, false),
        fragment(1, 2, 1, 2, true),
        header(1, 3, 2, Kind::Progress),
        header(1, 3, 3, Kind::Marker),
        fragment(1, 4, 3, 0, true),
    ];
    let units = completed(&mut from(0), &headers);
    assert_eq!(units, [(1, false), (2, false), (5, false), (7, false)]);
}

#[test]
fn a_checkpoint_in_the_middle_skips_what_is_done() {
    let headers = [
        fragment(1, 1, 0, 0, true),
        fragment(1, 2, 1, 0, false),
        fragment(1, 2, 1, 1, true),
        fragment(1, 3, 2, 0, true),
    ];
    assert_eq!(completed(&mut from(2), &headers), [(3, false)]);
}

#[test]
fn a_chosen_start_that_the_log_has_lost_halts() {
    let start = || Assembler::after(at(1));
    assert_eq!(completed(&mut start(), &[fragment(1, 2, 1, 0, true)]), [(0, false)]);
    assert_eq!(code(&mut start(), &[fragment(1, 4, 3, 0, true)]), "apply.gap");
    let later = |after| Header { time: 9, ..fragment(1, 4, after, 0, true) };
    let origin = Header { after: Position::ORIGIN, ..later(3) };
    assert_eq!(code(&mut Assembler::since(8), &[later(3)]), "apply.gap");
    assert_eq!(code(&mut Assembler::since(9), &[later(3)]), "none");
    assert_eq!(code(&mut Assembler::since(8), &[origin]), "none");
}

#[test]
fn a_new_epoch_voids_what_is_unfinished() {
    let headers = [
        fragment(1, 1, 0, 0, false),
        header(2, 0, 0, Kind::Epoch),
        fragment(2, 1, 0, 0, false),
        fragment(2, 1, 0, 1, true),
    ];
    let mut assembler = from(0);
    assert_eq!(completed(&mut assembler, &headers), [(2, false)]);
    // Without an epoch record between, the fragment itself voids.
    let headers = [fragment(1, 1, 0, 0, false), fragment(2, 1, 0, 0, true)];
    assert_eq!(completed(&mut from(0), &headers), [(1, true)]);
}

#[test]
fn what_is_out_of_order_halts() {
    let disorders: [&[Header]; 5] = [
        &[fragment(1, 1, 0, 1, true)],
        &[fragment(1, 1, 0, 0, false), fragment(1, 1, 0, 2, true)],
        &[fragment(1, 1, 0, 0, false), fragment(1, 2, 1, 0, true)],
        &[fragment(1, 1, 0, 0, false), header(1, 2, 1, Kind::Progress)],
        &[fragment(2, 1, 0, 0, true), fragment(1, 2, 1, 0, true)],
    ];
    for headers in disorders {
        assert_eq!(code(&mut from(0), headers), "apply.disorder", "{headers:?}");
    }
    assert_eq!(code(&mut from(0), &[fragment(1, 3, 2, 0, true)]), "apply.gap");
    assert_eq!(code(&mut from(0), &[header(1, 3, 2, Kind::Progress)]), "apply.gap");
    let other = Header { log_id: Uuid::nil(), ..fragment(1, 1, 0, 0, true) };
    assert_eq!(code(&mut from(0), &[other]), "apply.another_log");
}

#[test]
fn kinds_that_are_not_followed_halt_unless_skippable() {
    for kind in [Kind::SchemaChange, Kind::Timeline, Kind::ChunkRows] {
        let record = header(1, 1, 0, kind);
        assert_eq!(code(&mut from(0), std::slice::from_ref(&record)), "apply.unfollowed");
        let skippable = Header { skippable: true, ..record };
        assert_eq!(code(&mut from(0), &[skippable]), "none");
    }
}

#[test]
fn records_of_a_load_are_units_between_transactions() {
    let headers = [
        fragment(1, 1, 0, 0, true),
        header(1, 1, 1, Kind::ChunkBegin),
        header(1, 1, 1, Kind::Marker),
        header(1, 1, 1, Kind::ChunkEnd),
        fragment(1, 2, 1, 0, false),
        fragment(1, 2, 1, 1, true),
        header(1, 2, 2, Kind::ChunkBegin),
    ];
    let all = [(0, false), (1, false), (3, false), (4, false), (6, false)];
    assert_eq!(completed(&mut from(0), &headers), all);
    assert_eq!(completed(&mut Assembler::new(None), &headers), all);
    // A checkpoint between two of one position: what is done is passed over, what is not is not.
    for done in 0..=headers.len() {
        let position = headers[..done].iter().map(|h| h.position).max().unwrap_or(at(0));
        let whole = !matches!(done, 3 | 5);
        if whole {
            let mark = Mark { log_id: LOG, position, next_offset: done as u64, time: 0 };
            let left: Vec<_> = all.iter().filter(|(first, _)| *first >= done as u64).collect();
            let given = completed(&mut Assembler::new(Some(&mark)), &headers);
            assert_eq!(given.iter().collect::<Vec<_>>(), left, "{done}");
        }
    }
}

#[test]
fn a_marker_is_a_unit_when_it_is_one_of_a_load() {
    let marker = header(1, 3, 3, Kind::Marker);
    let outcome = from(3).push(9, &marker, false).unwrap();
    assert_eq!(outcome.action, Action::Skip);
    let Action::Complete(unit) = from(3).push(9, &marker, true).unwrap().action else {
        panic!("a unit");
    };
    assert_eq!((unit.kind, unit.mark.place()), (UnitKind::Load, (at(3), 10)));
}

#[test]
fn a_record_of_a_load_inside_a_transaction_or_behind_a_gap_halts() {
    let inside = [fragment(1, 1, 0, 0, false), header(1, 0, 0, Kind::ChunkEnd)];
    assert_eq!(code(&mut from(0), &inside), "apply.disorder");
    assert_eq!(code(&mut from(0), &[header(1, 3, 3, Kind::ChunkBegin)]), "apply.gap");
    // A new epoch voids the transaction first: then it stands between two.
    let voided = [fragment(1, 1, 0, 0, false), header(2, 0, 0, Kind::ChunkBegin)];
    assert_eq!(completed(&mut from(0), &voided), [(1, true)]);
}

#[test]
fn a_start_inside_a_transaction_leaves_it_out() {
    let headers =
        [fragment(1, 5, 4, 2, false), fragment(1, 5, 4, 3, true), fragment(1, 6, 5, 0, true)];
    let mut assembler = Assembler::new(None);
    assert_eq!(completed(&mut assembler, &headers), [(2, false)]);
    assert_eq!(assembler.take_cut(), Some(at(5)));
    assert_eq!(assembler.take_cut(), None);
}

proptest! {
    /// Writers die at any fragment and begin again; every transaction comes out once, whole.
    #[test]
    fn every_transaction_comes_out_once_whatever_died(
        sizes in prop::collection::vec(1u32..5, 1..12),
        deaths in prop::collection::vec((0usize..12, 0u32..5), 0..6),
    ) {
        let mut headers = Vec::new();
        let mut epoch = 1;
        for (i, size) in sizes.iter().enumerate() {
            let n = i as u64 + 1;
            for (_, at_fragment) in deaths.iter().filter(|(of, _)| *of == i) {
                for index in 0..(*at_fragment).min(size - 1) {
                    headers.push(fragment(epoch, n, n - 1, index, false));
                }
                epoch += 1;
                headers.push(header(epoch, n - 1, n - 1, Kind::Epoch));
            }
            for index in 0..*size {
                headers.push(fragment(epoch, n, n - 1, index, index + 1 == *size));
            }
        }
        let mut assembler = from(0);
        let mut kept = Vec::new();
        let mut units = Vec::new();
        for (offset, header) in headers.iter().enumerate() {
            let outcome = push(&mut assembler, offset as u64, header).expect("in order");
            if outcome.voided {
                kept.clear();
            }
            match outcome.action {
                Action::Keep => kept.push(header.clone()),
                Action::Complete(unit) => {
                    kept.push(header.clone());
                    units.push((unit.mark.position, std::mem::take(&mut kept)));
                }
                Action::Skip => {}
            }
        }
        prop_assert_eq!(units.len(), sizes.len());
        for (i, (position, fragments)) in units.iter().enumerate() {
            prop_assert_eq!(*position, at(i as u64 + 1));
            prop_assert_eq!(fragments.len(), sizes[i] as usize);
            let epochs: Vec<u64> = fragments.iter().map(|h| h.epoch).collect();
            prop_assert!(epochs.iter().all(|epoch| *epoch == epochs[0]));
        }
    }
}
