# A part of the switch: lets the server stand still while somebody copies the cluster.
#
# Not by the engine, which can never thaw a container again in which something was just being started
# (Engine 20.10 to 28): whoever looks at it then waits for ever.

FREEZE=60       # longest time for which one may ask; who needs more asks again
STILL_TRIES=100 # hundredths of a second for all to stand still
family=''

# Set `family` to the server and all that stems from it, and `moving` to those of them that do not stand still.
find_family() {
    pid=''
    [ ! -r "$pid_file" ] || read -r pid 2>/dev/null <"$pid_file"
    family=" $server $pid " found=yes
    while [ -n "$found" ]; do
        found='' moving=''
        for process in /proc/[0-9]*; do
            # The last line: a program's name, which comes first and in brackets, may have several.
            last=''
            while read -r line; do last=$line; done 2>/dev/null <"$process/stat"
            process=${process#/proc/}
            # Behind the name: the state, and the parent.
            # shellcheck disable=SC2086
            set -- ${last##*) }
            case $family in
            *" $process "*) ;;
            *" ${2:-nobody} "*) family="$family$process " found=yes ;;
            *) continue ;;
            esac
            case ${1-} in
            [TtZX] | '') ;;
            *) moving="$moving$process " ;;
            esac
        done
    done
}

stand_still() {
    tries=0 still=0
    find_family
    # Twice, since one may have been born during the first look.
    while [ "$still" -lt 2 ] && [ "$tries" -lt "$STILL_TRIES" ]; do
        case $moving/$tries in
        /*) still=$((still + 1)) ;;
        # Who starts a program stands still only when that has begun, and that may have been stopped before.
        */?*0) still=0 && let_go ;;
        # shellcheck disable=SC2086
        *) still=0 && kill -STOP $moving 2>/dev/null ;;
        esac
        [ "$tries" -eq 0 ] || [ "$still" -gt 0 ] || sleep 0.01
        tries=$((tries + 1))
        find_family
    done
    if [ "$still" -eq 2 ]; then : >"$state/frozen"; else let_go; fi
}

let_go() {
    rm -f "$state/frozen"
    # Of a server that has ended its last processes are left, which have to see that.
    [ -z "$server" ] || find_family
    # shellcheck disable=SC2086
    kill -CONT $family 2>/dev/null
}

# Do what is asked for; set `asked` to the seconds for which the server is to stand still, 0 for none.
freeze_or_thaw() {
    asked=0
    for file in "$state"/freeze-*; do
        [ -e "$file" ] || continue
        read -r end <"$file"
        if is_number "$end" && [ "$end" -gt 0 ] && [ "$end" -le "$FREEZE" ]; then
            # In seconds, as it has come; by a clock of its own: who asks may have another.
            end=$((now + end))
            printf '%s\n' "$end" >"$file"
        fi
        if is_number "$end" && [ "$end" -gt "$now" ] && [ $((end - now)) -le "$FREEZE" ]; then
            [ $((end - now)) -le "$asked" ] || asked=$((end - now))
        else
            rm -f "$file"
        fi
    done
    if [ "$asked" -gt 0 ]; then
        [ -e "$state/frozen" ] || stand_still
    elif [ -e "$state/frozen" ]; then
        let_go
    fi
}
