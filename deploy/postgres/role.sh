#!/bin/sh
# Makes the ordinary role that apply uses: no superuser, nothing but its own tables in this database.
# Run by the image at the first start of an empty data directory.
set -eu
password=$(cat /run/secrets/target_password)
psql -v ON_ERROR_STOP=1 -v password="$password" -U "$POSTGRES_USER" -d "$POSTGRES_DB" <<'SQL'
CREATE ROLE lockstep LOGIN PASSWORD :'password';
GRANT CONNECT, CREATE ON DATABASE shop TO lockstep;
-- From PostgreSQL 15 on; without it, triggers and foreign keys of the target fire for apply.
GRANT SET ON PARAMETER session_replication_role TO lockstep;
SQL
