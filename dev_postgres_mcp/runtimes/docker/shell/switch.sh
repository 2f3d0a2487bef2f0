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
# Over stdin comes what a prepared one is, in the form that receive.sh reads; it may come later, in a parcel.
#
# Files, all below $HOME_DIR:
#   inbox-ID-*/   a parcel: files for state/, taken in at the start and on USR1 as soon as `complete` lies in it
#   state/username  the superuser's, whose password is set
#   state/lease   "EXPIRES IDLE": seconds since 1970, and without a client; 0: none
#   state/spare   "EXPIRES": the end of a spare, which its pool moves on; nothing once there is a lease
#   state/ready     there once the superuser has its password
#   state/freeze-*  "SECONDS": somebody copies the cluster; the server stands still while one of them is not over
#   state/frozen    there while it does
#   state/exit    "CODE TIME OOM_KILLS" of a server that ended by itself; the lease goes on, so that it can be read
#   secret/       on a tmpfs, so that no commit of a running container holds it
set -u

stopping='' woken='' timer='' due=0

# End the `wait` below.  A signal that comes just before it would be lost on it: then another one follows.
# Nothing is started before there is a timer, so that `$!` is what the lines below have started themselves.
rouse() {
    if [ -z "$woken" ] && [ -n "$timer" ]; then
        (sleep 0.1 && kill -USR2 $$) </dev/null >/dev/null 2>&1 &
    fi
    woken=yes
}

# Before anything else: a stop may come at any time.
trap 'stopping=yes; rouse' TERM INT QUIT
trap rouse USR1
trap : USR2
trap 'due=0' ALRM

HOME_DIR=${DEV_POSTGRES_MCP_HOME:-/var/lib/dev-postgres-mcp}
PROC=${DEV_POSTGRES_MCP_PROC:-/proc}
CGROUP=${DEV_POSTGRES_MCP_CGROUP:-/sys/fs/cgroup}
SOCKET=${DEV_POSTGRES_MCP_SOCKET:-/var/run/postgresql/.s.PGSQL.5432}
TICK=60       # longest sleep: the clock may be set, the machine may have been suspended
IDLE_TICK=30  # longest sleep while clients have to be looked for
STOP_TRIES=40 # tenths of a second for the server to stop; then it is killed

id=$1 hard_end=$2 birth_end=$3 kind=$4
shift 4

state=$HOME_DIR/state secret=$HOME_DIR/secret pid_file=$PGDATA/postmaster.pid
server=''
expires=$birth_end idle=0
last_used=0 uptime=0 seen=''

# Set `user` to all that is in a file: a name may have several lines.
read_user() {
    user=''
    while IFS= read -r line; do
        user="$user$line
"
    done <"$1"
    user=$user$line
}

# Take in the parcels that are whole; one whose taking in was cut off is taken in again.
take_in() {
    for mark in "$HOME_DIR/inbox-$id"-*/complete; do
        [ -e "$mark" ] || continue
        parcel=${mark%/*}
        # Out of the container's layer; that takes a copy, and a rename for those who may read the one before.
        if [ -e "$parcel/password" ]; then
            IFS= read -r word <"$parcel/password"
            new=''
            [ ! -e "$secret/password" ] || new=.new
            (umask 077 && printf '%s' "$word" >"$secret/password$new")
            [ -z "$new" ] || mv -f "$secret/password.new" "$secret/password"
        fi
        set --
        for file in "$parcel"/*; do
            case $file in
            "$mark" | */password) ;;
            *) set -- "$@" "$file" ;;
            esac
        done
        [ $# -eq 0 ] || mv -f "$@" "$state/"
        rm -rf "$parcel"
    done
}

# The eighth line of its pid file is how a server says so, from version 10 on; the fifth is where its socket is.
is_ready() {
    [ -r "$pid_file" ] || return 1
    set --
    while read -r line; do
        set -- "$@" "$line"
    done <"$pid_file"
    [ "${8:-}" = ready ] || return 1
    sockets=$5
}

# Throw away what came along in an image: another one's state, and the locks of a server that no longer runs.
# After a restart of the container its own state is kept; after a restore, too, but for what was asked of it then.  No
# program is started for a prepared image, which has none of that: somebody waits.
clear_leftovers() {
    for found in "$HOME_DIR"/state "$HOME_DIR"/inbox-*; do
        owner=''
        case $found in
        "$HOME_DIR/inbox-$id-"*) continue ;;
        "$state") [ ! -f "$state/id" ] || read -r owner <"$state/id" ;;
        esac
        [ "$owner" = "$id" ] || [ "$owner" = nobody ] || [ ! -e "$found" ] || rm -rf "$found"
    done
    [ -d "$state" ] || mkdir -m 700 "$state"
    printf '%s\n' "$id" >"$state/id"
    is_ready || sockets=${SOCKET%/*}
    set --
    for found in "$state/exit" "$state/frozen" "$state"/freeze-* "$HOME_DIR/inbox-$id"-*/freeze-* "$pid_file" "$sockets/${SOCKET##*/}" "$sockets/${SOCKET##*/}.lock"; do
        [ ! -e "$found" ] || set -- "$@" "$found"
    done
    [ $# -eq 0 ] || rm -f "$@"
}

# Decimal, and short enough to be reckoned with.
is_number() {
    case $1 in
    '' | *[!0-9]* | 0?* | ?????????????*) return 1 ;;
    esac
}

# What is not whole is not believed: the last good lease holds, the first one being that of the birth.
read_lease() {
    new_expires='' new_idle=''
    if [ -f "$state/lease" ]; then
        read -r new_expires new_idle <"$state/lease"
    elif [ -f "$state/spare" ]; then
        read -r new_expires <"$state/spare"
        new_idle=0
    fi
    is_number "$new_expires" && is_number "$new_idle" || return
    # Without a client from now on, not since some time before the lease was changed.
    [ "$new_expires $new_idle" = "$expires $idle" ] || seen=''
    expires=$new_expires idle=$new_idle
}

# True when a client is connected, or one has been since the last look: the kernel counts what it has accepted.
was_used() {
    last_seen=$seen seen=none
    if [ -r "$PROC/net/snmp" ]; then
        while read -r protocol _ _ _ _ _ accepted _; do
            [ "$protocol" != Tcp: ] || seen=$accepted
        done <"$PROC/net/snmp"
    fi
    for table in "$PROC/net/tcp" "$PROC/net/tcp6"; do
        [ -r "$table" ] || continue
        while read -r _ address _ status _; do
            case $address/$status in
            *:1538/01)
                seen="$seen, connected"
                return
                ;;
            esac
        done <"$table"
    done
    [ "$seen" != "$last_seen" ]
}

# Set `now` to the seconds since 1970.  Some shells know them; bash 5.2 even has to be kept from substituting a
# command, since it dies of a trap that runs at that moment.
read_clock() {
    # shellcheck disable=SC3028
    now=${EPOCHSECONDS-}
    [ -n "$now" ] || now=$(date +%s)
}

# shellcheck source=SCRIPTDIR/freeze.sh
. "${0%/*}/freeze.sh"

sooner() {
    [ "$1" -ge "$left" ] || left=$1
}

# Set `left` to the seconds until something has to be looked at; it is over when none are left.
look() {
    read_clock
    left=$TICK
    freeze_or_thaw
    if [ -e "$state/frozen" ]; then
        # Whose lease is over ends when the copy is whole.
        sooner "$asked"
        return
    fi
    # Who could not be brought to stand still may be a moment later.
    [ "$asked" -eq 0 ] || sooner 1
    for end in "$expires" "$hard_end"; do
        [ "$end" -eq 0 ] || sooner $((end - now))
    done
    if [ "$idle" -gt 0 ]; then
        # A clock that nobody sets.
        [ ! -r "$PROC/uptime" ] || read -r uptime _ <"$PROC/uptime"
        uptime=${uptime%.*}
        was_used && last_used=$uptime
        sooner "$IDLE_TICK"
        sooner $((last_used + idle - uptime))
    fi
}

# Be woken by ALRM after $1 seconds, and again should it come just before `wait`.  A timer that is due earlier will
# do; one that is not needed any more ends in silence.  What somebody sends to all processes passes it by.
set_timer() {
    [ "$due" -gt "$now" ] && [ $((due - now)) -le "$1" ] && return
    [ -z "$timer" ] || kill -USR1 "$timer" 2>/dev/null
    timer='' due=$((now + $1))
    (
        trap '' HUP TERM
        trap exit USR1
        sleep "$1"
        for _ in 1 2 3; do
            kill -ALRM $$
            sleep 1
        done
    ) </dev/null >/dev/null 2>&1 &
    timer=$!
}

# Whatever the cluster's own settings are: they may have come with a snapshot.  None may log the password, or let
# it go with a crash that comes before the next write to disk.
alter_role() {
    quiet='-c log_statement=none -c log_min_duration_statement=-1 -c log_min_error_statement=panic'
    PGOPTIONS="$quiet -c synchronous_commit=local" \
        "$psql" -X -q -w -v ON_ERROR_STOP=1 -h "$sockets" -p "${SOCKET##*.}" -U "$1" -d "$2" <<'SQL'
\set password `cat "${DEV_POSTGRES_MCP_HOME:-/var/lib/dev-postgres-mcp}/secret/password"`
SET default_transaction_read_only = off;
SET password_encryption = 'scram-sha-256';
ALTER ROLE CURRENT_USER PASSWORD :'password';
SQL
}

# Give the superuser of a prepared cluster its password, over the local socket, as soon as the server is ready.
set_password() {
    # The one beside the server: what Debian puts on the PATH is a wrapper in Perl, which takes far longer.
    psql=$(command -v postgres) psql=${psql%/*}/psql
    [ -x "$psql" ] || psql=psql
    # As long as a server usually takes to start, then often for a while: each look costs others' time, too.
    pause=0.012 tries=0
    while kill -0 "$server"; do
        # `postgres` may have been dropped in a cluster that came from a snapshot.
        if is_ready; then
            if alter_role "$user" postgres || alter_role "$user" template1; then
                : >"$state/ready"
                return
            fi
            pause=1
        fi
        sleep "$pause"
        tries=$((tries + 1))
        case $tries in
        1) pause=0.004 ;;
        12) pause=0.02 ;;
        # One that recovers may take minutes.
        200) pause=1 ;;
        esac
    done
}

# INT is a fast shutdown.  Until it has its pid file a server ignores that, as all that a shell starts in the
# background does, and is ended by TERM.
stop_server() {
    [ ! -e "$state/frozen" ] || let_go
    tries=0
    while [ "$tries" -lt "$STOP_TRIES" ] && kill -INT "$server" 2>/dev/null; do
        pid=''
        [ ! -r "$pid_file" ] || read -r pid 2>/dev/null <"$pid_file"
        [ "$pid" = "$server" ] || kill -TERM "$server" 2>/dev/null
        sleep 0.1
        tries=$((tries + 1))
    done
    kill -KILL "$server" 2>/dev/null
}

# A restart of the container empties what lies on a tmpfs: a parcel brings it back.
keep_password() {
    [ -e "$secret/password" ] || return
    parcel=$HOME_DIR/inbox-$id-kept
    [ -d "$parcel" ] || mkdir -m 700 "$parcel"
    cp "$secret/password" "$state/username" "$parcel/" && : >"$parcel/complete"
}

note_exit() {
    kills=0
    for file in "$CGROUP/memory.events" "$CGROUP/memory/memory.oom_control"; do
        [ -r "$file" ] || continue
        while read -r key value; do
            [ "$key" != oom_kill ] || kills=$value
        done <"$file"
    done
    read_clock
    printf '%s %s %s\n' "$1" "$now" "$kills" >"$state/exit.new" && mv -f "$state/exit.new" "$state/exit"
}

# Wait for a signal, or for the server to end.
wait_for_something() {
    wait "${server:-$timer}" 2>/dev/null
    code=$?
    [ -n "$server" ] || return
    # Above 128 it may be a signal to us that has ended `wait`.
    if [ "$code" -gt 128 ]; then
        kill -0 "$server" 2>/dev/null && return
        # The server is gone, perhaps in the same moment: then its code is still to be had.
        wait "$server" 2>/dev/null
        again=$?
        [ "$again" -lt 0 ] || [ "$again" -eq 127 ] || code=$again
    fi
    server=''
    note_exit "$code"
}

clear_leftovers
[ ! -e "$state/ready" ] || kind=restarted
# A prepared cluster starts at once: what is written beside it may well come while it does.
[ "$kind" = prepared ] || take_in
# The entrypoint of an image stumbles over a file that is not there, though it needs none for a cluster that is.
[ -e "$secret/password" ] || unset POSTGRES_PASSWORD_FILE

exec 3<&0 </dev/null
"$@" 3<&- &
server=$!
# In a process of its own: a read may wait for ever, after a restart of the container by hand it does.
if [ "$kind" = prepared ]; then
    # shellcheck source=SCRIPTDIR/receive.sh
    (set -- $$ && . "${0%/*}/receive.sh") <&3 >/dev/null 2>&1 &
fi
exec 3<&-

while woken='' && [ -z "$stopping" ]; do
    take_in
    if [ "$kind" = prepared ] && [ -e "$secret/password" ]; then
        kind=''
        read_user "$state/username"
        set_password </dev/null >/dev/null 2>&1 &
    fi
    read_lease
    look
    [ "$left" -gt 0 ] || break
    set_timer "$left"
    [ -n "$woken" ] || wait_for_something
done

[ -z "$stopping" ] || keep_password
[ -z "$server" ] || stop_server
exit 0
