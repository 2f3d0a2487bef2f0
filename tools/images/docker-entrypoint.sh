#!/usr/bin/env bash
# Entry point of the stand-in images: keeps the contract that the official
# postgres image documents (environment, initialisation scripts, a temporary
# server that listens on the unix socket only, PID 1 is postgres in the end),
# so that tests meet the same behaviour - and the same races - where no
# registry can be reached.
set -Eeo pipefail # no -u: initialisation scripts are sourced into this shell

INIT_DIR=/docker-entrypoint-initdb.d

say() { echo "entrypoint: $*"; }

die() {
    echo "entrypoint: error: $*" >&2
    exit 1
}

# setting NAME [DEFAULT]: export NAME from $NAME, or from the file $NAME_FILE.
setting() {
    local name=$1 file_name=${1}_FILE value
    if [[ -n ${!name:-} && -n ${!file_name:-} ]]; then
        die "both $name and $file_name are set; use one of them"
    fi
    value=${!name:-${2:-}}
    if [[ -n ${!file_name:-} ]]; then
        value=$(<"${!file_name}") || die "cannot read $file_name=${!file_name}"
    fi
    export "$name=$value"
    unset "$file_name"
}

# Without DAC_OVERRIDE and FOWNER root cannot look into or change what already
# belongs to postgres: nothing to do there, and no reason to stop.
own_directories() {
    local directory
    for directory in "$PGDATA" "${POSTGRES_INITDB_WALDIR:-$PGDATA}" /var/run/postgresql; do
        mkdir -p "$directory"
        # -exec only on the wrong owner: a blanket chown copies a whole
        # committed cluster into the container's own layer.
        find "$directory" \! -user postgres -exec chown -h postgres:postgres {} + 2>/dev/null || true
    done
    chmod 0700 "$PGDATA" 2>/dev/null || true
}

step_down() {
    own_directories
    HOME=$(getent passwd postgres | cut -d: -f6)
    export HOME
    exec setpriv --reuid=postgres --regid=postgres --init-groups -- "${BASH_SOURCE[0]}" "$@"
}

read_settings() {
    setting POSTGRES_PASSWORD
    setting POSTGRES_USER postgres
    setting POSTGRES_DB "$POSTGRES_USER"
    setting POSTGRES_INITDB_ARGS
    setting POSTGRES_HOST_AUTH_METHOD
    if [[ -z $POSTGRES_PASSWORD && $POSTGRES_HOST_AUTH_METHOD != trust ]]; then
        die "the database is new and no password is given: set POSTGRES_PASSWORD" \
            "(or POSTGRES_PASSWORD_FILE) to a non-empty value;" \
            "POSTGRES_HOST_AUTH_METHOD=trust does without one and lets everybody in"
    fi
}

make_cluster() {
    local -a options=("--username=$POSTGRES_USER")
    mkdir -p "$PGDATA"
    if [[ -n ${POSTGRES_INITDB_WALDIR:-} ]]; then
        options+=("--waldir=$POSTGRES_INITDB_WALDIR")
    fi
    # The arguments are shell text by contract ("--locale='C' -k"), hence eval.
    if [[ -n $POSTGRES_PASSWORD ]]; then
        eval 'initdb "${options[@]}" --pwfile=<(printf "%s\n" "$POSTGRES_PASSWORD")' "$POSTGRES_INITDB_ARGS"
    else
        eval 'initdb "${options[@]}"' "$POSTGRES_INITDB_ARGS"
    fi
}

allow_hosts() {
    local method=$POSTGRES_HOST_AUTH_METHOD
    shift # the word "postgres"; the rest may change password_encryption
    method=${method:-$(postgres -C password_encryption "$@")}
    printf '\nhost all all all %s\n' "$method" >>"$PGDATA/pg_hba.conf"
}

start_temporary_server() {
    shift
    set -- "$@" -c listen_addresses= -p "${PGPORT:-5432}"
    NOTIFY_SOCKET='' pg_ctl -D "$PGDATA" -o "${*@Q}" -w start
}

# Names travel in the environment: in `--dbname` a name with "=" or "://" would
# be read as a connection string. Scripts that are sourced may use this, too.
docker_process_sql() {
    PGHOST='' PGHOSTADDR='' PGUSER=$POSTGRES_USER PGDATABASE=${PGDATABASE:-$POSTGRES_DB} \
        psql -v ON_ERROR_STOP=1 --no-password --no-psqlrc "$@"
}

create_database() {
    PGDATABASE=postgres docker_process_sql --quiet --set=db="$POSTGRES_DB" <<'SQL'
SELECT format('CREATE DATABASE %I', :'db')
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'db') \gexec
SQL
}

run_init_file() {
    local file=$1
    case $file in
        *.sh)
            say "running $file"
            # shellcheck source=/dev/null
            if [[ -x $file ]]; then "$file"; else . "$file"; fi
            ;;
        *.sql) say "running $file" && docker_process_sql -f "$file" ;;
        *.sql.gz) say "running $file" && gunzip -c "$file" | docker_process_sql ;;
        *.sql.xz) say "running $file" && xz -dc "$file" | docker_process_sql ;;
        *.sql.zst) say "running $file" && zstd -dc "$file" | docker_process_sql ;;
        *) say "ignoring $file" ;;
    esac
}

initialise() {
    local file
    read_settings
    make_cluster
    allow_hosts "$@"
    export PGPASSWORD=${PGPASSWORD:-$POSTGRES_PASSWORD}
    start_temporary_server "$@"
    create_database
    for file in "$INIT_DIR"/*; do
        # A plain call: "run_init_file || die" would switch errexit off inside.
        if [[ -e $file ]]; then run_init_file "$file"; fi
    done
    pg_ctl -D "$PGDATA" -m fast -w stop
    unset PGPASSWORD
    say "initialisation finished, PostgreSQL starts for good now"
}

only_informs() {
    local argument
    for argument in "$@"; do
        case $argument in
            -'?' | --help | --describe-config | -V | --version | -C) return 0 ;;
        esac
    done
    return 1
}

main() {
    if [[ ${1:-} == -* ]]; then set -- postgres "$@"; fi
    if [[ ${1:-} == postgres ]] && ! only_informs "$@"; then
        if [[ $(id -u) == 0 ]]; then step_down "$@"; fi
        if [[ -s $PGDATA/PG_VERSION ]]; then
            say "$PGDATA holds a cluster already, initialisation skipped"
        else
            initialise "$@"
        fi
    fi
    exec "$@"
}

main "$@"
