# A part of the switch: lets the server stand still while somebody copies the cluster.
#
# Not by the engine, which can never thaw a container again in which something was just being started
# (Engine 20.10 to 28): whoever looks at it then waits for ever.

FREEZE=60       # longest time for which one may ask; who needs more asks again
STILL_TRIES=100 # hundredths of a second for all to stand still

# Set `family` to the server and all that stems from it, and `moving` to those of them that do not stand still.
find_family() {
    family=" $server " found=yes
    while [ -n "$found" ]; do
        found='' moving=''
        for process in /proc/[0-9]*; do
            read -r line 2>/dev/null <"$process/stat" || continue
            process=${process#/proc/}
            # Behind the program's name in brackets: the state, and the parent.
            # shellcheck disable=SC2086
            set -- ${line##*) }
            case $family in
            *" $process "*) ;;
            *" $2 "*) family="$family$process " found=yes ;;
            *) continue ;;
            esac
            case $1 in
            [TtZX]) ;;
            *) moving="$moving$process " ;;
            esac
        done
    done
}

stand_still() {
    tries=0 moving=$server
    while [ -n "$moving" ] && [ "$tries" -lt "$STILL_TRIES" ]; do
        # shellcheck disable=SC2086
        kill -STOP $moving 2>/dev/null
        [ "$tries" -eq 0 ] || sleep 0.01
        tries=$((tries + 1))
        find_family
    done
    if [ -z "$moving" ]; then : >"$state/frozen"; else go_on; fi
}

go_on() {
    rm -f "$state/frozen"
    [ -n "$server" ] || return
    find_family
    # shellcheck disable=SC2086
    kill -CONT $family 2>/dev/null
}

# Do what is asked for; set `frozen` to the seconds for which the server stands still, 0 when it does not.
freeze_or_thaw() {
    frozen=0
    for file in "$state"/freeze-*; do
        [ -e "$file" ] || continue
        read -r until <"$file"
        if is_number "$until" && [ "$until" -gt "$now" ] && [ $((until - now)) -le "$FREEZE" ]; then
            [ $((until - now)) -le "$frozen" ] || frozen=$((until - now))
        else
            rm -f "$file"
        fi
    done
    if [ "$frozen" -gt 0 ]; then
        [ -e "$state/frozen" ] || stand_still
    elif [ -e "$state/frozen" ]; then
        go_on
    fi
}
