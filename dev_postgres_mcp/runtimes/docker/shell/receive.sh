#!/bin/sh
# Takes in what an instance is now: lines of "NAME CONTENT" on stdin.  Run inside by the server itself, which a
# claimant is connected to anyway: the quickest way to write beside it.  Each file arrives whole, by rename.
set -eu

HOME_DIR=${DEV_POSTGRES_MCP_HOME:-/var/lib/dev-postgres-mcp}
umask 077

while IFS= read -r line; do
    name=${line%% *}
    end=
    case $name in
    record | lease) directory=$HOME_DIR/state end='\n' ;;
    username) directory=$HOME_DIR/state ;;
    password) directory=$HOME_DIR/secret ;;
    *) exit 1 ;;
    esac
    printf "%s$end" "${line#* }" >"$directory/$name.new"
    mv -f "$directory/$name.new" "$directory/$name"
done

# The switch reads the lease anew.
kill -USR1 1
