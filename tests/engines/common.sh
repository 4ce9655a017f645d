# shellcheck shell=bash disable=SC2034,SC2154
# What the scripts of this folder share: where they keep things, how a daemon is started, found again and stopped, and how they fail.
# Sourced, after `set -euo pipefail` and with `engine` set.

# Data, logs and downloads outlive a run: they are what makes the second start fast.
state="${XDG_CACHE_HOME:-$HOME/.cache}/runner-test-engines"
# The path of a socket may have 107 bytes, so sockets can't be below a home folder. The key keeps users and caches apart.
sockets="/run/runner-test-engines-$(printf '%s' "$state" | sha256sum | cut -c1-8)"
mkdir -p "$state"
log="$state/$engine.log"

say() { printf '%s: %s\n' "$engine" "$1"; }

# fail WHAT [HOW TO MEND IT]...
fail() {
    printf '%s: %s\n' "$engine" "$1" >&2
    shift
    [ $# -eq 0 ] || printf '  %s\n' "$@" >&2
    exit 1
}

# One script at a time changes what is started: two test runs may begin together.
lock() {
    exec 9> "$state/$engine.lock"
    flock -w 300 9 || fail "another start or stop has held $state/$engine.lock for five minutes" "is it stuck? \`fuser $state/$engine.lock\` names it"
}

# install PACKAGE... : from Debian, after one look at what is there.
install() {
    command -v apt-get > /dev/null || fail "these packages are needed, and only apt-get is known here: $*" "install what they hold by hand"
    [ "$(id -u)" = 0 ] || fail "these packages are needed: $*" "as root: apt-get install -y $*"
    say "installing $*"
    local install=(env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@")
    "${install[@]}" > "$log" 2>&1 || { apt-get update -qq && "${install[@]}"; } > "$log" 2>&1 || fail "apt-get can't install $*" "its output: $log"
}

# When the process began, in clock ticks since the machine did; nothing if it has ended, also if nobody has heard of that yet. A number that was given to
# another process has another one.
began() { sed -n '/) [ZX] /!s/.*) //p' "/proc/$1/stat" 2> /dev/null | cut -d' ' -f20; }

# launch PROGRAM [ARGUMENT]... : a daemon with a log and a pid file, which outlives this script and is not reached by its Ctrl-C. It keeps nothing open that
# somebody else waits for, such as the lock of whoever called this script.
launch() {
    (
        for open in /proc/self/fd/*; do
            open="${open##*/}"
            [ "$open" -le 2 ] || eval "exec $open>&-"
        done
        exec setsid "$@"
    ) > "$log" 2>&1 < /dev/null &
    printf '%s %s\n' "$!" "$(began "$!")" > "$state/$engine.pid"
}

# The process that `launch` made, if it lives.
launched() {
    local pid when
    read -r pid when 2> /dev/null < "$state/$engine.pid" || return 1
    [ -n "$when" ] && [ "$(began "$pid")" = "$when" ] && printf '%s\n' "$pid"
}

# await SECONDS COMMAND... : until the command succeeds. Fails when the daemon ends, or when the time is up.
await() {
    local limit=$((SECONDS + $1)) seconds=$1
    shift
    until "$@" > /dev/null 2>&1; do
        launched > /dev/null || fail "ended while it started: $(tail -n 3 "$log")" "its log: $log"
        [ "$SECONDS" -lt "$limit" ] || fail "did not answer within $seconds seconds" "its log: $log"
        sleep 0.1
    done
}

# Ends the daemon that `launch` made, and nothing else.
stop() {
    local pid limit=$((SECONDS + 60))
    pid="$(launched)" || { say "nothing to stop: \`up\` started none"; rm -f "$state/$engine.pid"; return; }
    kill "$pid"
    while launched > /dev/null; do
        [ "$SECONDS" -lt "$limit" ] || fail "process $pid does not end" "its log: $log"
        sleep 0.1
    done
    rm -f "$state/$engine.pid"
    say "stopped"
}

# Ends the daemon that `launch` made and all that it started, at once. Nothing of it is kept; and for a test of its loss an end in good order is the easier case.
end() {
    local pid
    pid="$(launched)" || return 0
    kill -KILL -- "-$pid"
    while launched > /dev/null; do sleep 0.02; done
    rm -f "$state/$engine.pid"
}

# ok HOST:PORT PATH : whether the answer is 200. Bash speaks enough HTTP for that, and curl is not everywhere.
ok() {
    # shellcheck disable=SC2016
    timeout 10 bash -c 'exec 3<> "/dev/tcp/${1%:*}/${1##*:}" && printf "GET %s HTTP/1.0\r\nHost: %s\r\n\r\n" "$2" "$1" >&3 \
        && read -r _ status _ <&3 && [ "$status" = 200 ]' - "$1" "$2" 2> /dev/null
}

connects() { (exec 3<> "/dev/tcp/${1%:*}/${1##*:}") 2> /dev/null; }

# The first port from this one on that nobody listens at on loopback, of twenty: others have engines too, and theirs are not for tests.
free_port() {
    local port
    for ((port = $1; port < $1 + 20; port++)); do
        connects "127.0.0.1:$port" || { printf '%s\n' "$port"; return; }
    done
    fail "the ports $1 to $(($1 + 19)) are taken"
}
