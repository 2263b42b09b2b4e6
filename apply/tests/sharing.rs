//! Source transactions that share a commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lockstep_apply::ApplySettings;
use lockstep_common::FailPoints;
use lockstep_common::config::ConflictPolicy;
use lockstep_common::model::record::Change;

use crate::bed::{Bed, connect};
use crate::source::{account, accounts, at, insert, table, update};

/// How many share a commit, and over how many connections.
const WAYS: [(u32, usize); 4] = [(100, 1), (7, 1), (7, 3), (1, 2)];

fn sharing(bed: &Bed, (most, connections): (u32, usize)) -> ApplySettings {
    let mut settings = bed.settings();
    settings.config.connections = connections.try_into().expect("at least one");
    settings.config.group_commit = most.try_into().expect("at least one");
    settings
}

/// Rows that the transactions of the next test go round; neighbours touch different ones.
const ROUND: i64 = 40;

/// Every transaction sets the next row of each of two tables to its own number and adds one: whoever
/// reads them with the checkpoint finds the numbers that belong to it, whichever states the commits
/// leave out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_see_states_of_the_source_only() {
    for way in WAYS {
        readers_see_states_of_the_source(way).await;
    }
}

async fn readers_see_states_of_the_source(way: (u32, usize)) {
    const LAST: i64 = 2000;
    let mut bed = Bed::new().await;
    let a = bed.source.table(&accounts()).await;
    let mut other = accounts();
    (other.object_id, other.name.table) = (77, "others".to_owned());
    let b = bed.source.table(&other).await;
    let rows = (2 - ROUND..=1)
        .flat_map(|n| [a, b].map(|table| insert(table, account(n.rem_euclid(ROUND), "x", n))));
    bed.source.commit(&rows.collect::<Vec<_>>()).await;
    bed.catch_up().await;
    let transactions: Vec<Vec<Change<'static>>> = (2..=LAST)
        .map(|n| {
            let (from, to) = (account(n % ROUND, "x", n - ROUND), account(n % ROUND, "x", n));
            let fresh = insert(a, account(1000 + n, "y", n));
            vec![update(a, from.clone(), to.clone()), fresh, update(b, from, to)]
        })
        .collect();
    bed.source.commit_all(&transactions).await;

    let stop = Arc::new(AtomicBool::new(false));
    let (observer, stopped) =
        (connect(bed.database.port, &bed.database.name, "postgres").await, Arc::clone(&stop));
    let observing = tokio::spawn(async move {
        let mut seen = std::collections::BTreeSet::new();
        while !stopped.load(Ordering::Relaxed) {
            // One statement, one snapshot.
            let row = observer
                .query_one(
                    "SELECT position, (SELECT sum(balance)::bigint FROM accounts WHERE owner = 'x'), \
                     (SELECT sum(balance)::bigint FROM others), \
                     (SELECT count(*) FROM accounts WHERE owner = 'y') FROM lockstep.checkpoint",
                    &[],
                )
                .await
                .expect("the observer's query");
            let (position, added): (String, i64) = (row.get(0), row.get(3));
            let (n, sums) = (added + 1, (row.get::<_, i64>(1), row.get::<_, i64>(2)));
            let sum = ROUND * n - (0..ROUND).sum::<i64>();
            assert_eq!(sums, (sum, sum), "at {position}, {way:?}");
            assert_eq!(position, at(n.try_into().expect("a count")).to_string(), "{way:?}");
            seen.insert(n);
        }
        seen
    });
    bed.catch_up_with(sharing(&bed, way)).await;
    stop.store(true, Ordering::Relaxed);
    let seen = observing.await.expect("the observer judged every state to be right");
    assert!(seen.len() > 1, "the observer saw {seen:?} only, {way:?}");
    let commits: i64 =
        bed.query("SELECT seq FROM lockstep.checkpoint").await[0].parse().expect("a number");
    let fits = if way.0 == 1 { commits == LAST } else { commits < LAST };
    assert!(fits, "{commits} commits, {way:?}");
}

/// Number 6 of ten that wait is refused. Those before it have their commit, it is named, and nothing
/// behind it is there; under `exceptions` it alone is missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_one_refused_is_found_among_those_that_shared() {
    for (policy, way) in [ConflictPolicy::Halt, ConflictPolicy::Exceptions]
        .into_iter()
        .flat_map(|policy| WAYS.map(|way| (policy, way)))
    {
        let mut bed = Bed::new().await;
        let a = bed.source.table(&accounts()).await;
        bed.source.commit(&[insert(a, account(1, "x", 1))]).await;
        bed.catch_up().await;
        bed.query("INSERT INTO accounts VALUES (6, 'y', 0)").await;
        let transactions: Vec<_> = (2..=11).map(|n| vec![insert(a, account(n, "x", n))]).collect();
        bed.source.commit_all(&transactions).await;
        let mut settings = sharing(&bed, way);
        settings.config.on_conflict = policy;
        let ids = "SELECT string_agg(id::text, ' ' ORDER BY id) FROM accounts";
        if policy == ConflictPolicy::Halt {
            let failure = bed.start_with(settings, FailPoints::default()).fails().await;
            assert_eq!(failure.code.as_str(), "apply.conflict", "{failure}");
            assert!(failure.message.contains(&at(6).to_string()), "{failure}");
            assert_eq!(bed.query(ids).await, ["1 2 3 4 5 6"]);
            let position = bed.query("SELECT position FROM lockstep.checkpoint").await;
            assert_eq!(position, [at(5).to_string()]);
        } else {
            bed.catch_up_with(settings).await;
            assert_eq!(bed.query(ids).await, ["1 2 3 4 5 6 7 8 9 10 11"]);
            let owner = bed.query("SELECT owner FROM accounts WHERE id = 6").await;
            assert_eq!(owner, ["y"], "what is set aside changes nothing");
            let exceptions = bed.query("SELECT position FROM lockstep.exceptions").await;
            assert_eq!(exceptions, [at(6).to_string()]);
        }
    }
}

/// A value that no target can take is noticed before it is sent, behind others of the same commit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_cannot_be_sent_takes_nothing_from_those_before_it() {
    let mut bed = Bed::new().await;
    let a = bed.source.table(&accounts()).await;
    bed.source.commit(&[insert(a, account(1, "x", 1))]).await;
    bed.catch_up().await;
    let mut transactions: Vec<_> = (2..=11).map(|n| vec![insert(a, account(n, "x", n))]).collect();
    transactions[4] = vec![insert(a, account(6, "a\0b", 6))];
    bed.source.commit_all(&transactions).await;
    for way in WAYS {
        let failure = bed.start_with(sharing(&bed, way), FailPoints::default()).fails().await;
        assert_eq!(failure.code.as_str(), "apply.conflict", "{way:?}: {failure}");
        assert!(failure.message.contains(&at(6).to_string()), "{way:?}: {failure}");
        assert_eq!(bed.query("SELECT max(id) FROM accounts").await, ["5"], "{way:?}");
    }
}

/// A trigger that fires in replica role sees changes of all tables in the source's order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trigger_that_fires_sees_the_order_of_changes() {
    let mut bed = Bed::new().await;
    let a = bed.source.table(&accounts()).await;
    let columns = [("id", crate::source::INT), ("n", crate::source::INT)];
    let b = bed.source.table(&table("steps", 1, &columns)).await;
    let step = |id| insert(b, vec![crate::source::int(id), crate::source::int(0)]);
    bed.source.commit(&[insert(a, account(0, "x", 0)), step(0)]).await;
    bed.catch_up().await;
    bed.query(
        "CREATE TABLE heard (n serial, of text, id bigint); \
         CREATE FUNCTION hear() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN INSERT INTO public.heard (of, id) VALUES (TG_TABLE_NAME, NEW.id); RETURN NEW; END $$; \
         CREATE TRIGGER hear BEFORE INSERT ON accounts FOR EACH ROW EXECUTE FUNCTION hear(); \
         CREATE TRIGGER hear BEFORE INSERT ON steps FOR EACH ROW EXECUTE FUNCTION hear(); \
         ALTER TABLE accounts ENABLE ALWAYS TRIGGER hear; \
         ALTER TABLE steps ENABLE REPLICA TRIGGER hear",
    )
    .await;
    let transactions: Vec<_> = (1..=6)
        .map(|n| vec![insert(a, account(n, "x", n)), step(n), insert(a, account(n + 100, "x", n))])
        .collect();
    bed.source.commit_all(&transactions).await;
    let mut settings = sharing(&bed, (3, 2));
    settings.config.triggers = lockstep_common::config::TriggerPolicy::Allow;
    bed.catch_up_with(settings).await;
    let expected: Vec<String> = (1..=6)
        .flat_map(|n| {
            [format!("accounts|{n}"), format!("steps|{n}"), format!("accounts|{}", n + 100)]
        })
        .collect();
    assert_eq!(bed.query("SELECT of, id FROM heard ORDER BY n").await, expected);
}
