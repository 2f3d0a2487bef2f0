#!/bin/sh
# Takes in what an instance is now: lines of "NAME CONTENT" on stdin, up to a line `complete` or the end.  Run by the
# switch at birth, and by the server itself for a claimant, who is connected to it anyway: the quickest way to write
# beside it.  Each file arrives whole, by rename.
#
#   receive.sh [SWITCH]    its process: 1
set -eu

HOME_DIR=${DEV_POSTGRES_MCP_HOME:-/var/lib/dev-postgres-mcp}
umask 077

while IFS= read -r line; do
    name=${line%% *}
    end=
    case $name in
    complete) break ;;
    record | lease | spare) directory=$HOME_DIR/state end='\n' ;;
    username) directory=$HOME_DIR/state ;;
    password) directory=$HOME_DIR/secret ;;
    *) exit 1 ;;
    esac
    printf "%s$end" "${line#* }" >"$directory/$name.new"
    mv -f "$directory/$name.new" "$directory/$name"
done

# The switch reads the lease anew.
kill -USR1 "${1:-1}"
