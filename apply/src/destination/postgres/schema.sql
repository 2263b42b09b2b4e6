-- What Lockstep keeps in a target. Everything here is written by apply; people may read it.

-- "If not exists" asks for the right to create one even where it exists.
DO $$ BEGIN
    IF to_regnamespace('lockstep') IS NULL THEN
        CREATE SCHEMA lockstep;
    END IF;
END $$;

-- One row per pipeline, written by the transaction that it describes. Few rows per page, so that
-- its updates stay on their page.
CREATE TABLE IF NOT EXISTS lockstep.checkpoint (
    pipeline text PRIMARY KEY,
    -- Taken anew by every connection of apply: outlaws the one before.
    epoch bigint NOT NULL DEFAULT 0,
    -- Counts commits: each names the one before it. A broken chain is a null here, an error.
    seq bigint NOT NULL DEFAULT 0,
    log_id uuid,
    position text,
    next_offset bigint,
    -- Commit time in the source.
    commit_time timestamptz,
    -- The start point that was chosen when there was no checkpoint.
    start text,
    -- Who applies: name, process, server process.
    apply text,
    instance uuid,
    backend_pid integer,
    backend_start timestamptz
) WITH (fillfactor = 10);

-- Full loads: `loading`, then `consistent` (indexes and constraints are being made), then `done`.
CREATE TABLE IF NOT EXISTS lockstep.load (
    pipeline text NOT NULL,
    load uuid NOT NULL,
    -- A table loaded again beside the running stream.
    reload boolean NOT NULL,
    state text NOT NULL,
    -- From this position on the target equals the source.
    consistent text,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    consistent_at timestamptz,
    ended_at timestamptz,
    PRIMARY KEY (pipeline, load)
);

-- Tables of a load: `loading`, then `read` (all chunks are in), or `superseded` by a younger load.
CREATE TABLE IF NOT EXISTS lockstep.load_table (
    pipeline text NOT NULL,
    load uuid NOT NULL,
    -- The source table's version.
    version text NOT NULL,
    source text NOT NULL,
    -- `bracketed` or `exact`.
    handoff text NOT NULL,
    state text NOT NULL,
    -- Exact: the position that the rows are of.
    from_position text,
    -- What changes noted of rows that were not there yet; while `loading`, for bracketed tables.
    notes text,
    chunks bigint,
    rows bigint,
    started_at timestamptz,
    ended_at timestamptz,
    PRIMARY KEY (pipeline, load, version)
);

-- Chunks: `open` (being read from the source), `pending` (read; not in the target yet), `done`.
CREATE TABLE IF NOT EXISTS lockstep.load_chunk (
    pipeline text NOT NULL,
    load uuid NOT NULL,
    version text NOT NULL,
    chunk integer NOT NULL,
    state text NOT NULL,
    -- Where the snapshot stream has its rows.
    partition integer,
    first_offset bigint,
    last_offset bigint,
    rows bigint NOT NULL DEFAULT 0,
    bytes bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (pipeline, load, version, chunk)
);

-- Which pipeline owns which table.
CREATE TABLE IF NOT EXISTS lockstep.tables (
    schema_name text NOT NULL,
    table_name text NOT NULL,
    pipeline text NOT NULL,
    source text NOT NULL,
    version text NOT NULL,
    PRIMARY KEY (schema_name, table_name)
);

-- Why changes of the source table are passed over until it is loaded; null where it is followed. At
-- most one row of a source table has null. `relation` is what the target table was when it was found.
-- `source_ref` is the identity of the source table, which its name is not.
ALTER TABLE lockstep.tables ADD COLUMN IF NOT EXISTS held text,
    ADD COLUMN IF NOT EXISTS relation oid,
    ADD COLUMN IF NOT EXISTS source_ref text;

-- Transactions set aside (`refused`), and updates whose row was absent (`absent`). While a row is
-- here without `resolved_at`, the target may differ from every state of the source.
CREATE TABLE IF NOT EXISTS lockstep.exceptions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pipeline text NOT NULL,
    kind text NOT NULL,
    position text NOT NULL,
    first_offset bigint,
    next_offset bigint,
    source_table text,
    operation text,
    -- Number of the first offending change within its transaction, from 0.
    change bigint,
    sqlstate text,
    error text NOT NULL,
    noted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    resolved_at timestamptz
);

-- Rows that `converge` found otherwise than the source had them (an insert whose row was there, an update
-- or delete whose row was not) and made as they are now: the target had diverged, and may have elsewhere.
-- Written in the transaction that does it. A load of the table sets `rows` back, and so may you.
CREATE TABLE IF NOT EXISTS lockstep.forced (
    pipeline text NOT NULL,
    source_table text NOT NULL,
    operation text NOT NULL,
    rows bigint NOT NULL DEFAULT 0,
    first_position text NOT NULL,
    last_position text NOT NULL,
    noted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (pipeline, source_table, operation)
);

-- A count that is not as it must be has to be an error: the commit is already on the wire.
CREATE OR REPLACE FUNCTION lockstep.expect_rows(met bigint, expected bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF met IS DISTINCT FROM expected THEN
        RAISE EXCEPTION 'expected % rows, met %', expected, met USING ERRCODE = 'LS001';
    END IF;
END $$;

-- Called only to fail: a pooler gave the transaction to another server process than the session's.
CREATE OR REPLACE FUNCTION lockstep.expect_process(expected integer) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF pg_backend_pid() IS DISTINCT FROM expected THEN
        RAISE EXCEPTION 'server process %, not %', pg_backend_pid(), expected
            USING ERRCODE = 'LS004';
    END IF;
END $$;

CREATE OR REPLACE FUNCTION lockstep.note_absent(
    met bigint, of_pipeline text, at_position text, of_table text, number bigint
) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF met = 0 THEN
        INSERT INTO lockstep.exceptions
            (pipeline, kind, position, source_table, operation, change, error)
        VALUES (of_pipeline, 'absent', at_position, of_table, 'update', number,
                'the row to update is absent and the change does not give it whole');
    END IF;
END $$;

-- Called only where rows were otherwise than the source had them.
CREATE OR REPLACE FUNCTION lockstep.note_forced(
    of_pipeline text, at_position text, of_table text, by_operation text, forced bigint
) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO lockstep.forced AS f
        (pipeline, source_table, operation, rows, first_position, last_position)
    VALUES (of_pipeline, of_table, by_operation, forced, at_position, at_position)
    ON CONFLICT (pipeline, source_table, operation) DO UPDATE SET rows = f.rows + EXCLUDED.rows,
        first_position = CASE f.rows WHEN 0 THEN EXCLUDED.first_position ELSE f.first_position END,
        last_position = EXCLUDED.last_position, noted_at = EXCLUDED.noted_at;
END $$;

-- The first statement of the transaction that loads a chunk. The row's lock keeps two of them apart;
-- an epoch that is not the checkpoint's belongs to an apply that has been replaced.
CREATE OR REPLACE FUNCTION lockstep.claim_chunk(
    of_pipeline text, of_load uuid, of_version text, number integer, by_epoch bigint
) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM FROM lockstep.load_chunk WHERE pipeline = of_pipeline AND load = of_load
        AND version = of_version AND chunk = number AND state = 'pending' FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the chunk is not pending' USING ERRCODE = 'LS002';
    END IF;
    PERFORM FROM lockstep.checkpoint WHERE pipeline = of_pipeline AND epoch = by_epoch;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the epoch is another' USING ERRCODE = 'LS003';
    END IF;
END $$;

-- Each row of a chunk is in the target, or the stream accounts for it.
CREATE OR REPLACE FUNCTION lockstep.expect_placed(read bigint, there bigint, accounted bigint)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'of % rows, % are there and the stream accounts for %', read, there, accounted
        USING ERRCODE = 'LS005';
END $$;
