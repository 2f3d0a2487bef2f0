#!/bin/sh
# Makes the cluster of a prepared image: the image's own entrypoint initialises it, runs the scripts of a seed and
# starts the server; then the superuser is left without a password, so that nobody can log in with what is in the
# image, and the server is stopped cleanly.
#
#   prepare.sh COMMAND...
set -eu

HOME_DIR=${DEV_POSTGRES_MCP_HOME:-/var/lib/dev-postgres-mcp}
PASSWORD_FILE=$HOME_DIR/secret/password

password=$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')
(umask 077 && printf '%s' "$password" >"$PASSWORD_FILE")

"$@" &
server=$!

# While the scripts run there is a server on the unix socket only: a login over TCP says that they are through.
# With a new segment the log of all that was done goes.
until PGPASSWORD=$password psql -X -q -w -h 127.0.0.1 -p 5432 -U postgres -d postgres \
    -c 'ALTER ROLE postgres PASSWORD NULL' -c 'SELECT pg_switch_wal()' >/dev/null 2>&1; do
    if ! kill -0 "$server" 2>/dev/null; then
        wait "$server" || exit
        echo 'the server ended before it was ready' >&2
        exit 1
    fi
    sleep 0.05
done

kill -INT "$server"
wait "$server"

# The log's one segment has 16 MB, all of which the first write would copy into the container's own layer: what lies
# behind the last record is cut off.  A server writes on where that ends, and the file gets as long as it was.
cut_log() {
    segment='' offset=0
    while IFS=: read -r name value; do
        value=${value##* }
        case $name in
        "Latest checkpoint's REDO WAL file") segment=$PGDATA/pg_wal/$value ;;
        'Latest checkpoint location') offset=$((0x${value#*/} % 16777216)) ;;
        'Bytes per WAL segment') [ "$value" = 16777216 ] || return 0 ;;
        esac
    done
    # A record may go on behind the end of its page.
    [ ! -f "$segment" ] || truncate -s $(((offset / 8192 + 2) * 8192)) "$segment"
}
LC_ALL=C pg_controldata "$PGDATA" | cut_log

# The place of an instance's state, so that the switch need not make it.
mkdir -m 700 "$HOME_DIR/state"
echo nobody >"$HOME_DIR/state/id"
