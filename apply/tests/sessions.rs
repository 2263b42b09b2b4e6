//! What a session is, whatever the role, the database, its other users and a pooler make of it.

use lockstep_common::FailPoints;
use lockstep_common::config::ConflictPolicy;
use lockstep_common::model::definition::{ColumnDefinition, Definition};
use lockstep_common::model::load::{ChunkAttributes, Handoff};
use lockstep_common::model::record::{Before, Operation};
use lockstep_common::service::check::Verdict;
use lockstep_common::service::status::LoadState;
use lockstep_common::{TableId, Value};

use crate::bed::{Bed, connect};
use crate::loads::LOAD;
use crate::source::{
    INT, TEXT, account, accounts, bare, change, delete, insert, int, table, text, update,
};

const ROWS: &str = "SELECT id, owner, balance FROM public.accounts ORDER BY id";
/// A setting, and the first PostgreSQL that has it.
const IDLE: &str = "idle_session_timeout";
const IDLE_SINCE: u32 = 14;
const PLAIN: ChunkAttributes = ChunkAttributes { from: None, restart: false };

/// A role for apply that may make what it needs, and set `session_replication_role`.
async fn apply_role(bed: &Bed) -> String {
    let (database, role) = (&bed.database.name, format!("apply_{}", bed.database.name));
    let replica = match bed.major().await {
        ..15 => format!(
            "ALTER ROLE {role} IN DATABASE {database} SET session_replication_role = 'replica'"
        ),
        _ => format!("GRANT SET ON PARAMETER session_replication_role TO {role}"),
    };
    bed.query(&format!(
        "CREATE ROLE {role} LOGIN; GRANT CREATE, TEMP ON DATABASE {database} TO {role}; \
         GRANT USAGE, CREATE ON SCHEMA public TO {role}; {replica}"
    ))
    .await;
    role
}

/// Two schemas full of everything that PostgreSQL has, under the same names: functions, aggregates,
/// operators, types, views; and operators that fit some arguments better than PostgreSQL's own. Who
/// calls any of them leaves a trace that no rollback takes away.
const TRAPS: &str = r"
SET search_path = pg_catalog;
CREATE SEQUENCE public.called;
GRANT ALL ON SEQUENCE public.called TO PUBLIC;
CREATE FUNCTION public.trap() RETURNS boolean LANGUAGE plpgsql VOLATILE AS
    $$ BEGIN PERFORM pg_catalog.nextval('public.called'); RETURN true; END $$;
CREATE FUNCTION public.trap_step(int8) RETURNS int8 LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_catalog.nextval('public.called'); RETURN 1; END $$;
CREATE AGGREGATE public.count(*) (SFUNC = public.trap_step, STYPE = int8);
DO $do$ DECLARE place text; f record; n int := 0; body text :=
    $f$ BEGIN PERFORM pg_catalog.nextval('public.called'); END $f$;
BEGIN
    FOREACH place IN ARRAY ARRAY['public', 'USER'] LOOP
        FOR f IN SELECT proname, pg_get_function_identity_arguments(oid) AS arguments,
            pg_get_function_result(oid) AS result FROM pg_proc
            WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind = 'f' LOOP
            BEGIN
                EXECUTE format('CREATE FUNCTION %I.%I(%s) RETURNS %s LANGUAGE plpgsql AS %L',
                    place, f.proname, f.arguments, f.result, body);
            EXCEPTION WHEN OTHERS THEN NULL; END;
        END LOOP;
        FOR f IN SELECT oprname, oprleft::regtype AS l, oprright::regtype AS r,
            oprresult::regtype AS result FROM pg_operator WHERE oprleft <> 0 LOOP
            BEGIN
                n := n + 1;
                EXECUTE format('CREATE FUNCTION %I.%I(%s, %s) RETURNS %s LANGUAGE plpgsql AS %L',
                    place, 'trap' || n, f.l, f.r, f.result, body);
                EXECUTE format('CREATE OPERATOR %I.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = %I.%I)',
                    place, f.oprname, f.l, f.r, place, 'trap' || n);
            EXCEPTION WHEN OTHERS THEN NULL; END;
        END LOOP;
        FOR f IN SELECT typname FROM pg_type WHERE typtype = 'b' AND typelem = 0
            AND typnamespace = 'pg_catalog'::regnamespace LOOP
            BEGIN
                EXECUTE format('CREATE DOMAIN %I.%I AS pg_catalog.%I CHECK (public.trap())',
                    place, f.typname, f.typname);
            EXCEPTION WHEN OTHERS THEN NULL; END;
        END LOOP;
        FOR f IN SELECT relname FROM pg_class WHERE relkind IN ('r', 'v')
            AND relnamespace = 'pg_catalog'::regnamespace LOOP
            BEGIN
                EXECUTE format('CREATE VIEW %I.%I AS SELECT * FROM pg_catalog.%I WHERE public.trap()',
                    place, f.relname, f.relname);
                EXECUTE format('GRANT ALL ON %I.%I TO PUBLIC', place, f.relname);
            EXCEPTION WHEN invalid_table_definition THEN NULL; END;
        END LOOP;
    END LOOP;
    FOR f IN SELECT l, r FROM unnest(ARRAY['int2', 'int4', 'int8', 'numeric', 'float4', 'float8',
        'text', 'varchar', 'bpchar', 'name', 'uuid', 'oid', 'regclass', 'bool', 'bytea', 'date',
        'timestamp', 'timestamptz', 'jsonb', 'xml']) l, unnest(ARRAY['int4', 'int8', 'numeric',
        'float8', 'text', 'varchar', 'bpchar', 'uuid', 'jsonb']) r LOOP
        n := n + 1;
        EXECUTE format('CREATE FUNCTION public.%I(%s, %s) RETURNS boolean LANGUAGE plpgsql AS %L',
            'trap' || n, f.l, f.r, body);
        FOREACH place IN ARRAY ARRAY['=', '<>', '<', '>', '<=', '>=', '+', '-', '*', '/', '||'] LOOP
            BEGIN
                EXECUTE format('CREATE OPERATOR public.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = public.%I)',
                    place, f.l, f.r, 'trap' || n);
            EXCEPTION WHEN duplicate_function THEN NULL; END;
        END LOOP;
    END LOOP;
END $do$;
CREATE TYPE public.evil AS (x int4);
CREATE FUNCTION public.evil(pg_catalog.text) RETURNS public.evil LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_catalog.nextval('public.called'); END $$;
CREATE CAST (pg_catalog.text AS public.evil) WITH FUNCTION public.evil(pg_catalog.text) AS IMPLICIT;
CREATE CAST (pg_catalog.varchar AS public.evil) WITH FUNCTION public.evil(pg_catalog.text) AS IMPLICIT;
CREATE FUNCTION public.lower(public.evil) RETURNS pg_catalog.text LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_catalog.nextval('public.called'); END $$;
";

/// What any role that may create objects somewhere can put there, and the role's and database's own
/// path to it.
async fn set_traps(bed: &Bed, role: &str) {
    let (database, mallory) = (&bed.database.name, format!("mallory_{}", bed.database.name));
    bed.query(&format!(
        "CREATE ROLE {mallory} LOGIN; CREATE SCHEMA {role}; \
         GRANT USAGE, CREATE ON SCHEMA public, {role} TO {mallory}; \
         GRANT USAGE ON SCHEMA {role} TO {role}; \
         ALTER DATABASE {database} SET search_path = public, pg_catalog; \
         ALTER ROLE {role} SET search_path = \"$user\", public, pg_catalog"
    ))
    .await;
    let theirs = connect(bed.database.port, database, &mallory).await;
    theirs.batch_execute(&TRAPS.replace("USER", role)).await.expect("traps");
    let made = "SELECT count(*) > 2000, count(*) FILTER (WHERE proname = 'count') > 0 \
                FROM pg_proc WHERE pronamespace = 'public'::regnamespace";
    assert_eq!(bed.query(made).await, ["t|t"]);
    // They work: whoever has that path calls them.
    let caught = connect(bed.database.port, database, role).await;
    caught.simple_query("SELECT lower('X'), 1 + 1").await.expect_err("it does not return");
    bed.query("SELECT setval('public.called', 1, false)").await;
}

fn with_default(version: &lockstep_common::TableVersion, expression: &str) -> Definition {
    let mut definition = bare(version);
    definition.columns = version
        .columns
        .iter()
        .map(|column| ColumnDefinition {
            column: column.name.clone(),
            default: (column.name == "owner").then(|| expression.to_owned()),
            ..ColumnDefinition::default()
        })
        .collect();
    definition
}

/// Each kind of statement, of loads and of the stream.
async fn everything(bed: &mut Bed, settings: &lockstep_apply::ApplySettings) {
    let results = lockstep_apply::check(settings).await;
    assert!(results.iter().all(|r| r.verdict != Verdict::Fail), "{results:#?}");
    let version = accounts();
    let a = bed.source.table_with(&version, with_default(&version, r"(N'a\b')")).await;
    let keyless = table("lines", 0, &[("n", INT), ("body", TEXT)]);
    let k = bed.source.defined(&keyless).await;
    let line = |n: i64| vec![int(n), text("line")];
    bed.source.progress().await;
    bed.source.begin_load(LOAD, &[(a, Handoff::Bracketed)]).await;
    let partial = |table: TableId, id: i64, balance: i64| {
        let after = vec![int(id), Value::Unavailable, int(balance)];
        change(table, Operation::Update, Before::Key(vec![int(id)]), after)
    };
    bed.source.chunk_begin((LOAD, a, 0), PLAIN).await;
    bed.source.commit(&[partial(a, 1, 10), delete(a, account(2, "b", 2))]).await;
    let rows: Vec<_> = (1..=4).map(|i| account(i, "old", i)).collect();
    let offsets = bed.source.chunk_rows((LOAD, a, 0), 0, &rows, 4).await;
    bed.source.chunk_end((LOAD, a, 0), 0, offsets, 4).await;
    bed.source
        .commit(&[
            insert(a, account(5, "e", 5)),
            update(a, account(3, "old", 3), account(3, "c", 3)),
        ])
        .await;
    bed.source.table_read(LOAD, a, 1, 4).await;
    bed.source.end_load(LOAD).await;
    let n = bed.source.progress().await;
    let mut apply = bed.start_with(settings.clone(), FailPoints::default());
    apply.reaches(n).await;
    let done = |s: &lockstep_common::service::status::ApplyStatus| {
        s.load.as_ref().is_some_and(|load| load.state == LoadState::Done)
    };
    apply.until("the load's end", done).await;
    let lines: Vec<_> = (1..=5).map(|n| insert(k, line(n))).collect();
    bed.source.commit(&lines).await;
    let many: Vec<_> =
        [3, 4, 5].map(|i| update(a, account(i, "x", i), account(i, "y", i * 10))).to_vec();
    bed.source.commit(&many).await;
    bed.source
        .commit(&[
            update(a, account(3, "y", 30), account(13, "moved", 13)),
            update(k, line(1), line(11)),
            delete(k, line(2)),
            delete(a, account(4, "y", 40)),
        ])
        .await;
    let n = bed.source.commit(&[insert(a, account(6, "f", 6))]).await;
    apply.reaches(n).await;
    apply.stop().await;
    assert_eq!(bed.query(ROWS).await, ["1|old|10", "5|y|50", "6|f|6", "13|moved|13"]);
    assert_eq!(bed.query("SELECT n FROM public.lines ORDER BY n").await, ["3", "4", "5", "11"]);
    let default = "SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef \
                   WHERE adrelid = 'public.accounts'::regclass";
    assert_eq!(bed.query(default).await, [r"'a\b'::text"]);
    let mut converging = settings.clone();
    converging.config.on_conflict = ConflictPolicy::Converge;
    bed.source.commit(&[partial(a, 99, 1), delete(a, account(98, "x", 1))]).await;
    bed.source.commit(&[insert(a, account(6, "again", 6))]).await;
    bed.catch_up_with(converging).await;
    assert!(lockstep_apply::reset(settings).await.unwrap().is_some());
    lockstep_apply::schema(settings, 15, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_others_put_in_the_way_is_called() {
    let mut bed = Bed::new().await;
    let role = apply_role(&bed).await;
    set_traps(&bed, &role).await;
    let mut settings = bed.settings();
    settings.config.user = role;
    everything(&mut bed, &settings).await;
    assert_eq!(bed.query("SELECT is_called FROM public.called").await, ["f"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_of_role_and_database_are_not_the_sessions() {
    let mut bed = Bed::new().await;
    let role = apply_role(&bed).await;
    let database = bed.database.name.clone();
    let settings = [
        "standard_conforming_strings = off",
        "default_transaction_isolation = 'serializable'",
        "default_transaction_deferrable = on",
        "idle_session_timeout = '1s'",
        "idle_in_transaction_session_timeout = '1ms'",
        "statement_timeout = '500ms'",
        "lock_timeout = '1ms'",
        "timezone = 'Pacific/Chatham'",
        "datestyle = 'SQL, DMY'",
        "intervalstyle = 'sql_standard'",
        "extra_float_digits = -15",
        "bytea_output = 'escape'",
        "xmloption = 'document'",
        "transform_null_equals = on",
        "array_nulls = off",
        "quote_all_identifiers = on",
        "row_security = on",
        "exit_on_error = on",
        "client_encoding = 'LATIN1'",
    ];
    let major = bed.major().await;
    let known = |setting: &&&str| !setting.starts_with(IDLE) || major >= IDLE_SINCE;
    for setting in settings.iter().filter(known) {
        bed.query(&format!("ALTER ROLE {role} SET {setting}")).await;
    }
    bed.query(&format!("ALTER DATABASE {database} SET default_transaction_read_only = on")).await;
    bed.query("SET default_transaction_read_only = off").await;
    let mut settings = bed.settings();
    settings.config.user = role;
    everything(&mut bed, &settings).await;
}

/// The server ends nothing that is idle for long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_session_is_not_ended_by_its_role() {
    let mut bed = Bed::new().await;
    if bed.major().await < IDLE_SINCE {
        return;
    }
    let a = bed.source.table(&accounts()).await;
    let role = apply_role(&bed).await;
    bed.query(&format!("ALTER ROLE {role} SET {IDLE} = '50ms'")).await;
    let mut settings = bed.settings();
    settings.config.user = role.clone();
    bed.source.commit(&[insert(a, account(1, "x", 1))]).await;
    let mut apply = bed.start_with(settings, FailPoints::default());
    apply.reaches(1).await;
    // A session of the same role that is ended for it came after apply's.
    let other = connect(bed.database.port, &bed.database.name, &role).await;
    while !other.is_closed() {
        tokio::task::yield_now().await;
    }
    let n = bed.source.commit(&[insert(a, account(2, "x", 1))]).await;
    let status = apply.reaches(n).await;
    assert_eq!((status.epoch, status.last_error), (1, None));
    apply.stop().await;
}
