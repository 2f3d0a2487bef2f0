#!/bin/sh
# The dead-man switch: PID 1 of every instance.  It starts the server, passes a stop on, and ends with the server
# when the lease is over, whether or not anything of ours is still alive.  With auto-remove the engine then deletes
# the container.  POSIX sh; runs under dash, busybox and bash, as the server's own user, without capabilities.
#
#   switch.sh ID HARD_END BIRTH_END prepared|fresh COMMAND...
#
# ID         the instance's: files of another one came along in an image and are thrown away
# HARD_END   no lease goes beyond it (seconds since 1970; 0: no such end)
# BIRTH_END  the end while no lease has come yet
# prepared   the cluster is there, its superuser has no password yet;  fresh: COMMAND makes it
#
# Files, all below $HOME_DIR:
#   inbox-ID-*/   a parcel: files for state/, taken in at the start and on USR1 as soon as `complete` lies in it
#   state/username  the superuser's, whose password is set
#   state/lease   "EXPIRES IDLE": seconds since 1970, and without a client; 0: none
#   state/spare   "EXPIRES": the end of a spare, which its pool moves on; nothing once there is a lease
#   state/exit    "CODE TIME OOM_KILLS" of a server that ended by itself; the lease goes on, so that it can be read
#   secret/       on a tmpfs, so that no commit of the container holds it
set -u

HOME_DIR=${DEV_POSTGRES_MCP_HOME:-/var/lib/dev-postgres-mcp}
PROC=${DEV_POSTGRES_MCP_PROC:-/proc}
CGROUP=${DEV_POSTGRES_MCP_CGROUP:-/sys/fs/cgroup}
SOCKET=${DEV_POSTGRES_MCP_SOCKET:-/var/run/postgresql/.s.PGSQL.5432}
TICK=60       # longest sleep: the clock may be set, the machine may have been suspended
IDLE_TICK=30  # longest sleep while clients have to be looked for
STOP_TRIES=40 # tenths of a second for the server to stop; then it is killed with us

id=$1 hard_end=$2 birth_end=$3 kind=$4
shift 4

state=$HOME_DIR/state secret=$HOME_DIR/secret
server='' timer='' stopping=''
expires=0 idle=0 last_used=0 opened=''

# Before anything is started: a stop may come at any time.
trap 'stopping=yes' TERM INT QUIT
trap : USR1
trap 'timer=' USR2

now() { date +%s; }

# Take in the parcels that are whole.  Each file arrives by rename; the secret one leaves the container's layer.
take_in() {
    for mark in "$HOME_DIR"/inbox-"$id"-*/complete; do
        [ -e "$mark" ] || continue
        parcel=${mark%/complete}
        rm -f "$mark"
        if [ -e "$parcel/password" ]; then
            mv -f "$parcel/password" "$secret/password"
        fi
        for file in "$parcel"/*; do
            [ -e "$file" ] && mv -f "$file" "$state/"
        done
        rmdir "$parcel"
    done
}

# Throw away what came along in an image: another one's state, and the locks of a server that no longer runs.
# After a restart of the container its own state is kept.
clear_leftovers() {
    was=''
    [ -r "$state/id" ] && read -r was <"$state/id"
    [ "$was" = "$id" ] || rm -rf "$state"
    for parcel in "$HOME_DIR"/inbox-*; do
        case $parcel in
        "$HOME_DIR/inbox-$id-"*) ;;
        *) rm -rf "$parcel" ;;
        esac
    done
    mkdir -p "$state" "$secret"
    chmod 700 "$state"
    printf '%s\n' "$id" >"$state/id"
    rm -f "$state/exit"
    rm -f "$PGDATA/postmaster.pid" "$SOCKET" "$SOCKET.lock"
}

read_lease() {
    new_expires='' new_idle=''
    if [ -e "$state/lease" ]; then
        read -r new_expires new_idle <"$state/lease" || :
    elif [ -e "$state/spare" ]; then
        read -r new_expires <"$state/spare" || :
        new_idle=0
    else
        new_expires=$birth_end new_idle=0
    fi
    # What is not two numbers is not believed: the last good lease holds.
    case "$new_expires:$new_idle" in
    :* | *: | *[!0-9:]*) ;;
    *) expires=$new_expires idle=$new_idle ;;
    esac
}

# True when a client is connected, or was since the last look: the kernel counts what it accepted.
was_used() {
    passive=''
    if [ -r "$PROC/net/snmp" ]; then
        while read -r protocol _ _ _ _ _ count _; do
            [ "$protocol" = Tcp: ] && passive=$count
        done <"$PROC/net/snmp"
    fi
    if [ "$passive" != "$opened" ]; then
        opened=$passive
        return 0
    fi
    for table in "$PROC/net/tcp" "$PROC/net/tcp6"; do
        [ -r "$table" ] || continue
        while read -r _ local _ status _; do
            case "$local/$status" in
            *:1538/01) return 0 ;;
            esac
        done <"$table"
    done
    return 1
}

# Set `left` to the seconds until something has to be looked at; 0 when it is over.
look() {
    time=$(now)
    left=$TICK
    for end in "$expires" "$hard_end"; do
        [ "$end" -gt 0 ] || continue
        [ $((end - time)) -lt "$left" ] && left=$((end - time))
    done
    if [ "$idle" -gt 0 ]; then
        was_used && last_used=$time
        [ "$IDLE_TICK" -lt "$left" ] && left=$IDLE_TICK
        [ $((last_used + idle - time)) -lt "$left" ] && left=$((last_used + idle - time))
    fi
    [ "$left" -gt 0 ] || left=0
}

# Be woken by USR2 after $1 seconds.
set_timer() {
    [ -n "$timer" ] && kill "$timer" 2>/dev/null
    (
        trap - TERM INT QUIT USR1 USR2
        sleep "$1"
        kill -USR2 $$
    ) </dev/null >/dev/null 2>&1 &
    timer=$!
}

alter_role() {
    psql -X -q -w -v ON_ERROR_STOP=1 -U "$1" -d "$2" >/dev/null 2>&1 <<'SQL'
\set password `cat "${DEV_POSTGRES_MCP_HOME:-/var/lib/dev-postgres-mcp}/secret/password"`
SET log_statement = 'none';
SET log_min_error_statement = 'panic';
ALTER ROLE CURRENT_USER PASSWORD :'password';
SQL
}

# Give the superuser of a prepared cluster its password, over the local socket, as soon as the server answers.
set_password() {
    user=$(cat "$state/username")
    tries=0
    until [ -S "$SOCKET" ]; do
        sleep 0.01
    done
    # `postgres` may have been dropped in a cluster that came from a snapshot.
    until alter_role "$user" postgres || alter_role "$user" template1; do
        tries=$((tries + 1))
        if [ "$tries" -lt 200 ]; then sleep 0.02; else sleep 1; fi
    done
}

stop_server() {
    tries=0
    # Again and again: a server that has just been started ignores the first ones.
    while [ -n "$server" ] && [ "$tries" -lt "$STOP_TRIES" ] && kill -INT "$server" 2>/dev/null; do
        sleep 0.1
        tries=$((tries + 1))
    done
}

note_exit() {
    kills=0
    for file in "$CGROUP/memory.events" "$CGROUP/memory/memory.oom_control"; do
        [ -r "$file" ] || continue
        while read -r key value; do
            [ "$key" = oom_kill ] && kills=$value
        done <"$file"
    done
    printf '%s %s %s\n' "$1" "$(now)" "$kills" >"$state/exit.new" && mv -f "$state/exit.new" "$state/exit"
}

clear_leftovers
take_in
read_lease
last_used=$(now)

"$@" &
server=$!
if [ "$kind" = prepared ] && [ -e "$secret/password" ]; then
    set_password &
fi

while [ -z "$stopping" ]; do
    look
    [ "$left" -gt 0 ] || break
    set_timer "$left"
    if [ -n "$server" ]; then
        wait "$server"
        code=$?
        # Woken by a signal, the server goes on; else it is gone, and `wait` has told how.
        if ! kill -0 "$server" 2>/dev/null; then
            server=''
            note_exit "$code"
        fi
    else
        wait "$timer"
    fi
    take_in
    read_lease
done

stop_server
exit 0
