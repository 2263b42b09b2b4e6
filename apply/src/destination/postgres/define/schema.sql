-- What a full load made in the target beside tables and rows, and what it did not.
CREATE TABLE IF NOT EXISTS lockstep.load_object (
    pipeline text NOT NULL,
    -- The source table, the kind of the object, its name in the source.
    source text NOT NULL,
    kind text NOT NULL,
    object text NOT NULL,
    -- The load that saw to it last.
    load uuid NOT NULL,
    -- Schema, table and name in the target.
    schema_name text NOT NULL,
    table_name text NOT NULL,
    name text NOT NULL,
    -- `making`, `made`, `left_out`, `failed`; `unmade` while a table is loaded again.
    state text NOT NULL,
    statements text[] NOT NULL DEFAULT '{}',
    -- Why it is not made, or in what it differs from the source's.
    reason text,
    -- A default: set in the transaction that wrote this.
    default_made boolean NOT NULL DEFAULT false,
    noted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (pipeline, source, kind, object)
);
