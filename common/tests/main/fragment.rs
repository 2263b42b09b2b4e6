//! Fragments written and read piece by piece are those written and read whole.

use lockstep_common::Value;
use lockstep_common::codec::{self, FragmentHead, FragmentReader, FragmentWriter};
use lockstep_common::model::record::{Before, Body, Change, Fragment, Part, TableTotal};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::arbitrary;

#[derive(Clone, Debug)]
enum Step {
    Part(Part<'static>),
    Change(Change<'static>),
    Cut,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => arbitrary::part().prop_map(Step::Part),
        8 => arbitrary::change().prop_map(Step::Change),
        1 => Just(Step::Cut),
    ]
}

fn head() -> impl Strategy<Value = FragmentHead> {
    (
        (arbitrary::uuid(), 0..u64::MAX / 2, arbitrary::position(), arbitrary::position()),
        (any::<i64>(), arbitrary::attributes(), arbitrary::boundary(), arbitrary::transaction()),
    )
        .prop_map(|((log_id, epoch, position, after), (time, attributes, boundary, t))| {
            FragmentHead {
                log_id,
                epoch,
                position,
                after,
                time,
                attributes,
                boundary,
                transaction_id: t.0,
                source_time: t.1,
            }
        })
}

type Items<'a> = (Vec<Part<'a>>, Vec<Change<'a>>, Vec<TableTotal>);

/// Everything in a fragment, piece by piece; parts and changes as far as they are asked for.
fn items(payload: &[u8], parts: bool, changes: bool) -> Items<'_> {
    let mut reader = FragmentReader::new(payload).unwrap().expect("a fragment");
    assert_eq!(reader.header(), &codec::header(payload).unwrap());
    let mut items = Items::default();
    while let Some(part) = if parts { reader.part().unwrap() } else { None } {
        items.0.push(part);
    }
    while let Some(change) = if changes { reader.change().unwrap() } else { None } {
        items.1.push(change.clone());
        // Whatever its reader leaves in a change is not in the next.
        change.after.push(Value::Bool(true));
        change.attributes.insert("left".to_owned(), "behind".to_owned());
        if let Before::Key(row) | Before::Full(row) = &mut change.before {
            row.insert(0, Value::String("left behind".into()));
        }
    }
    while let Some(total) = reader.total().unwrap() {
        items.2.push(total);
    }
    assert!(reader.part().unwrap().is_none() && reader.change().unwrap().is_none());
    items
}

fn fragment(payload: &[u8]) -> Fragment<'_> {
    match codec::decode(payload).unwrap().body {
        Body::Fragment(fragment) => fragment,
        other => panic!("not a fragment: {other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_transaction_comes_back_whole(head in head(), steps in vec(step(), 0..40)) {
        let mut writer = FragmentWriter::new(&head);
        let mut payloads = Vec::new();
        for step in &steps {
            match step {
                Step::Part(part) => writer.push_part(part),
                Step::Change(change) => writer.push_change(change),
                Step::Cut => {
                    let bound = writer.len();
                    payloads.push(writer.cut());
                    prop_assert!(payloads.last().unwrap().len() <= bound);
                    prop_assert!(writer.nothing_pushed());
                }
            }
        }
        let bound = writer.len();
        payloads.push(writer.finish());
        prop_assert!(payloads.last().unwrap().len() <= bound);

        let (mut parts, mut changes) = (Vec::new(), Vec::new());
        for (i, payload) in payloads.iter().enumerate() {
            let header = codec::header(payload).unwrap();
            prop_assert_eq!((header.log_id, header.epoch), (head.log_id, head.epoch));
            prop_assert_eq!((header.position, header.after), (head.position, head.after));
            prop_assert_eq!(header.time, head.time);
            prop_assert_eq!(header.completes(), i + 1 == payloads.len());
            let fragment = fragment(payload);
            prop_assert_eq!(usize::try_from(fragment.index).unwrap(), i);
            prop_assert_eq!(fragment.last, i + 1 == payloads.len());
            prop_assert_eq!(usize::try_from(fragment.changes_before).unwrap(), changes.len());
            prop_assert_eq!(fragment.boundary, head.boundary);
            prop_assert_eq!(&fragment.transaction_id, &head.transaction_id);
            prop_assert_eq!(&fragment.source_time, &head.source_time);
            prop_assert_eq!(&codec::decode(payload).unwrap().attributes, &head.attributes);

            let whole = (&fragment.parts, &fragment.changes, &fragment.totals);
            let streamed = items(payload, true, true);
            prop_assert_eq!(format!("{streamed:?}"), format!("{whole:?}"));
            let (passed, streamed, _) = items(payload, false, true);
            prop_assert!(passed.is_empty());
            prop_assert_eq!(format!("{streamed:?}"), format!("{:?}", fragment.changes));
            prop_assert_eq!(&items(payload, false, false).2, &fragment.totals);

            if fragment.last {
                check_totals(&fragment.totals, &steps);
            } else {
                prop_assert!(fragment.totals.is_empty());
            }
            parts.extend(fragment.parts);
            changes.extend(fragment.changes);
        }
        let pushed_parts: Vec<_> =
            steps.iter().filter_map(|s| match s { Step::Part(p) => Some(p), _ => None }).collect();
        let pushed_changes: Vec<_> =
            steps.iter().filter_map(|s| match s { Step::Change(c) => Some(c), _ => None }).collect();
        prop_assert_eq!(format!("{parts:?}"), format!("{pushed_parts:?}"));
        prop_assert_eq!(format!("{changes:?}"), format!("{pushed_changes:?}"));
    }

    #[test]
    fn a_fragment_cut_short_is_an_error(
        head in head(),
        steps in vec(step(), 1..20),
        at in any::<proptest::sample::Index>(),
    ) {
        let mut writer = FragmentWriter::new(&head);
        for step in &steps {
            match step {
                Step::Part(part) => writer.push_part(part),
                Step::Change(change) => writer.push_change(change),
                Step::Cut => {}
            }
        }
        let payload = writer.finish();
        let cut = &payload[..at.index(payload.len())];
        if let Ok(reader) = FragmentReader::new(cut) {
            let mut reader = reader.expect("a fragment");
            let error = loop {
                match reader.change() {
                    Ok(Some(_)) => {}
                    Ok(None) => match reader.total() {
                        Ok(total) => prop_assert!(total.is_some(), "all was read"),
                        Err(error) => break error,
                    },
                    Err(error) => break error,
                }
            };
            prop_assert!(matches!(error, codec::DecodeError::Corrupt(_)), "{error}");
            prop_assert!(reader.change().unwrap().is_none(), "it goes on after an error");
            prop_assert!(reader.total().unwrap().is_none(), "it goes on after an error");
        }
    }
}

fn check_totals(totals: &[TableTotal], steps: &[Step]) {
    let changes = || {
        steps.iter().filter_map(|s| match s {
            Step::Change(change) => Some(change),
            _ => None,
        })
    };
    for total in totals {
        let counted = changes().filter(|c| c.table == total.table).count();
        assert_eq!(total.changes, counted as u64);
    }
    assert_eq!(totals.iter().map(|t| t.changes).sum::<u64>(), changes().count() as u64);
}

#[test]
fn a_record_of_another_kind_is_no_fragment() {
    let record = lockstep_common::model::record::Record {
        log_id: uuid::Uuid::nil(),
        epoch: 1,
        position: Default::default(),
        after: Default::default(),
        time: 0,
        skippable: false,
        attributes: Default::default(),
        body: Body::Marker { name: "here".into() },
    };
    let payload = crate::codec::encoded(&record);
    assert!(FragmentReader::new(&payload).unwrap().is_none());
}
