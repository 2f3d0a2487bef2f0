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
until PGPASSWORD=$password psql -X -q -w -h 127.0.0.1 -p 5432 -U postgres -d postgres \
    -c 'ALTER ROLE postgres PASSWORD NULL' 2>/dev/null; do
    if ! kill -0 "$server" 2>/dev/null; then
        wait "$server" || exit
        echo 'the server ended before it was ready' >&2
        exit 1
    fi
    sleep 0.05
done

kill -INT "$server"
wait "$server"

# The place of an instance's state, so that the switch need not make it.
mkdir -m 700 "$HOME_DIR/state"
echo nobody >"$HOME_DIR/state/id"
