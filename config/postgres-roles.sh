#!/bin/sh
# Run once by the image of PostgreSQL, as the owner of the database: the relays' role, which may connect and no more until
# `queue migrate` gives it what it needs.
set -eu
: "${RELAY_PASSWORD:?set POSTGRES_RELAY_PASSWORD in .env}"
psql --set=ON_ERROR_STOP=1 --set=password="$RELAY_PASSWORD" --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" <<'SQL'
CREATE ROLE relay LOGIN PASSWORD :'password';
REVOKE ALL ON DATABASE edgeferry FROM PUBLIC;
GRANT CONNECT ON DATABASE edgeferry TO relay;
SQL
