#!/bin/sh
# Measures downloads: examples/fetch.c beside other programs that are installed, in one run, from a server on this machine
# (nginx, of its own, as whoever calls this), near and far: far through a proxy that makes the round trip 50 ms
# (downloads_delay.c).
#
#     sh tests/bench/downloads.sh [options]            (or: sh tests/bench/run.sh [options] downloads)
#
# Options: -n ROUNDS  how often each is measured (default 3), in turns
#          -i REGEX   only the programs whose names match      -c REGEX  only the cases whose names match
#          -H DIR     the directory of another conc.h          -b DIR    build here (default build/bench)
#          -s MIB     the big file (default 1024; less, if the disk has no room for two of it)
#          -j N       transfers at a time (default 16)         -x N      the big file in so many pieces (default 8)
#          -d MS      the far server's round trip (default 50) -w KIB    what one stream has under way at most (default 2048)
#          -t SECONDS one program's time for one case, after which it is killed (default 300)
#          -D DIR     files go below it; twice the big file has to fit there. Default: /dev/shm, where that and the memory have room for
#                     them: what making 2,000 files takes on a disk is the same for all and hides the rest; else $TMPDIR or /tmp. (Room
#                     that is asked for before costs nothing on a disk; there it is cleared at once: ours pays 0.3 s for the big file.)
#          -l         only list what would be measured
#
# Cases: small (2,000 files of 20 KB), medium (200 of 1 MiB), big (one of 1 GiB), each also with "far": over that path one stream is
# given at most KIB in MS, 40 MiB/s, as over any long path; several get several times as much.
#
# For each: seconds; the processor's seconds, user and system, of the program and its children; the most memory, MiB (of
# its largest process; and "all" of its processes together, where there are several: sampled, shared pages in shares);
# and how many files were there afterwards and the same as at the server. Medians of the rounds. Behind each number: how many times
# the best peer's that had all files right (below 1 it is better).
#
# Each is told not to show anything, to have N transfers at a time, and where it can, the big file in pieces: curl, requests, and
# fetch by processes cannot; wget2's come one after the other, and are kept in memory, so it has it in one.

set -u
LC_ALL=C
export LC_ALL
unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY all_proxy ALL_PROXY
here=$(cd "$(dirname "$0")" && pwd) || exit 1
root=$(cd "$here/../.." && pwd) || exit 1

rounds=3 peers=. only=. conc=$root build=$root/build/bench big=1024 parallel=16 pieces=8 delay=50 window=2048 limit=300 list_only=''
files=''
while getopts n:i:c:H:b:s:j:x:d:w:t:D:l option; do
    case $option in
    n) rounds=$OPTARG ;;
    i) peers=$OPTARG ;;
    c) only=$OPTARG ;;
    H) conc=$OPTARG ;;
    b) build=$OPTARG ;;
    s) big=$OPTARG ;;
    j) parallel=$OPTARG ;;
    x) pieces=$OPTARG ;;
    d) delay=$OPTARG ;;
    w) window=$OPTARG ;;
    t) limit=$OPTARG ;;
    D) files=$OPTARG ;;
    l) list_only=1 ;;
    *) exit 2 ;;
    esac
done
have() { command -v "$1" >/dev/null 2>&1; }
mkdir -p "$build" && build=$(cd "$build" && pwd) || exit 1
conc=$(cd "$conc" && pwd) || exit 1
log=$build/downloads.log
: >"$log"

# ---- who takes part ---------------------------------------------------------------------------------------

all='' skipped=''
joins() { # NAME
    echo "$1" | grep -Eq -e "$peers" && all="$all $1"
}
skip() {
    skipped="$skipped
skipped: $1"
}
cc=${CC:-cc}
PATH=$PATH:/usr/sbin:/sbin
have nginx || { echo "skipped: downloads: install nginx"; exit 77; }
for name in delay meter; do
    "$cc" -std=c99 -O2 -o "$build/downloads_$name" "$here/downloads_$name.c" 2>>"$log" ||
        { echo "skipped: downloads: $name does not build (Linux only), see $log"; exit 77; }
done
if "$cc" -std=c99 -O2 -I"$conc" -o "$build/downloads_fetch" "$root/examples/fetch.c" -pthread -lcurl >>"$log" 2>&1; then
    for name in conc conc-threads conc-processes; do joins "$name"; done
else
    skip "conc.h ITSELF: does not build (wants libcurl), see $log"
fi
for name in curl aria2c wget2; do
    if have "$name"; then joins "$name"; else skip "$name: install it"; fi
done
if ! have go; then
    skip "Go: install golang-go"
elif GO111MODULE=off GOFLAGS='' GOPROXY=off GOCACHE=$build/go-cache go build -o "$build/downloads_go" "$here/downloads.go" >>"$log" 2>&1; then
    joins go
else
    skip "Go: does not build, see $log"
fi
python=''
for name in ${PYTHON:-python3 /usr/bin/python3}; do
    [ -n "$python" ] || ! "$name" -c 'import requests' 2>/dev/null || python=$("$name" -c 'import sys; print(sys.executable)')
done
if [ -n "$python" ]; then joins requests; else skip "requests: install python3-requests"; fi

cases=
for name in small medium big small-far medium-far big-far; do
    echo "$name" | grep -Eq -e "$only" && cases="$cases $name"
done
if [ -n "$list_only" ]; then
    for case in $cases; do
        for name in $all; do printf '%s\t%s\n' "$case" "$name"; done
    done
    echo "$skipped"
    exit 0
fi

# ---- the server, near and far ------------------------------------------------------------------------------

room_at() { # DIRECTORY: MiB
    df -Pk "$1" 2>/dev/null | awk 'NR == 2 { print int($4 / 1024) }'
}
if [ -z "$files" ]; then
    files=${TMPDIR:-/tmp}
    memory=$(awk '/^MemAvailable:/ { print int($2 / 2048) }' /proc/meminfo) # half of it
    shared=$(room_at /dev/shm)
    [ "$memory" -lt $((2 * big + 1024)) ] || [ "${shared:-0}" -lt $((2 * big + 1024)) ] || files=/dev/shm
fi
work=$(mktemp -d "$files/conc-downloads.XXXXXX") || exit 1
server='' proxy=''
finish() {
    for pid in $server $proxy; do kill "$pid" 2>/dev/null; done
    wait 2>/dev/null
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 1' HUP INT TERM

room=$(($(room_at "$work") - 1024))
asked=$big
while [ $((2 * big)) -gt "$room" ] && [ "$big" -gt 64 ]; do big=$((big / 2)); done
[ "$big" -eq "$asked" ] || echo "the disk has no room for two files of $asked MiB: $big MiB" >&2

echo "making files in $work" >&2
mkdir -p "$work/site/small" "$work/site/medium" "$work/site/big" "$work/temp" || exit 1
(cd "$work/site/small" && head -c 40960000 /dev/urandom | split -b 20480 -a 4 -d - f) || exit 1
(cd "$work/site/medium" && head -c 209715200 /dev/urandom | split -b 1048576 -a 4 -d - f) || exit 1
case $cases in
*big*) head -c "${big}M" /dev/urandom >"$work/site/big/f0" || exit 1 ;;
*) echo >"$work/site/big/f0" ;;
esac
# A date that is too new would not stand for the file.
find "$work/site" -type f -exec touch -d '2020-01-01 00:00:00' {} +

near=''
for try in 1 2 3 4 5 6 7 8 9 10; do
    near=$(awk -v s="$$$try" 'BEGIN { srand(s); print int(20000 + rand() * 10000) }')
    cat >"$work/nginx.conf" <<END_OF_CONFIG
daemon off;
master_process off;
pid $work/nginx.pid;
error_log $work/error.log;
worker_rlimit_nofile 4096;
events { worker_connections 2048; }
http {
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    open_file_cache max=4000;
    client_body_temp_path $work/temp;
    proxy_temp_path $work/temp;
    fastcgi_temp_path $work/temp;
    uwsgi_temp_path $work/temp;
    scgi_temp_path $work/temp;
    server {
        listen 127.0.0.1:$near backlog=1024;
        root $work/site;
    }
}
END_OF_CONFIG
    nginx -p "$work" -c "$work/nginx.conf" >"$work/nginx.out" 2>&1 &
    server=$!
    sleep 0.5
    kill -0 "$server" 2>/dev/null && break
    server=
done
[ -n "$server" ] || { cat "$work/nginx.out" "$work/error.log"; exit 1; }
"$build/downloads_delay" "$near" "$delay" "$window" >"$work/far" &
proxy=$!
for try in 1 2 3 4 5 6 7 8 9 10; do
    [ -s "$work/far" ] && break
    sleep 0.1
done
far=$(cat "$work/far")
[ -n "$far" ] || { echo "the proxy does not listen"; exit 1; }

for port in $near $far; do
    for kind in small medium big; do
        (cd "$work/site/$kind" && ls) | sed "s|^|http://127.0.0.1:$port/$kind/|" >"$work/$kind-$port"
        sed 's|^\(.*/\)\(.*\)|url = "\1\2"\noutput = "\2"|' "$work/$kind-$port" >"$work/$kind-$port.curl"
    done
done

# ---- one measurement ----------------------------------------------------------------------------------------

# run NAME KIND PORT: into the directory "got"; prints what the meter says
run() {
    list=$work/$2-$3 x=1
    [ "$2" != big ] || x=$pieces
    ours="$build/downloads_fetch -q -j $parallel -d $work/got -i $list"
    case $1 in
    conc) set -- $ours -x "$x" -e coroutines ;;
    conc-threads) set -- $ours -x "$x" -e threads ;;
    conc-processes) set -- $ours -e processes ;;
    curl) set -- curl -q -s -f -Z --parallel-max "$parallel" --output-dir "$work/got" -K "$list.curl" ;;
    aria2c) set -- aria2c --no-conf -q -j "$parallel" -x "$x" -s "$x" --file-allocation=none --enable-dht=false -d "$work/got" -i "$list" ;;
    wget2) set -- wget2 --no-config -q --no-robots --max-threads="$parallel" -P "$work/got" -i "$list" ;;
    go) set -- "$build/downloads_go" "$parallel" "$x" "$list" "$work/got" ;;
    requests) set -- "$python" "$here/downloads.py" "$parallel" "$list" "$work/got" ;;
    esac
    HOME=$work "$build/downloads_meter" "$limit" "$work/log" "$@" </dev/null
}

results=$build/downloads.tsv
: >"$results"
round=0
while [ "$round" -lt "$rounds" ]; do
    round=$((round + 1))
    for case in $cases; do
        kind=${case%-far} port=$near
        [ "$kind" = "$case" ] || port=$far
        for name in $all; do
            echo "round $round of $rounds: $case: $name" >&2
            rm -rf "$work/got"
            mkdir "$work/got"
            line=$(run "$name" "$kind" "$port")
            right=$(($(ls "$work/site/$kind" | wc -l) - $(diff -rq "$work/site/$kind" "$work/got" | grep -c -e ' differ$' -e "^Only in $work/site")))
            echo "$case $name $right $line" >>"$results"
            case $line in *' 0') ;; *) { echo "$case: $name: $line"; head -c 500 "$work/log"; } >>"$log" ;; esac
        done
    done
done
rm -rf "$work/got"

# ---- report -------------------------------------------------------------------------------------------------

{
    echo "downloads: medians of $rounds rounds on $(nproc 2>/dev/null || echo '?') processors, $(date +%Y-%m-%d); $parallel transfers at a time,"
    echo "the big file ($big MiB) in $pieces pieces; files below $files; far: $delay ms, and one stream $window KiB in that time"
    echo "(x): how many times the best peer's; below 1 it is better. Memory: of the largest process; all: of all together."
    awk -v parallel="$parallel" '
        function median(list, key, n,    i, j, x) {
            for (i = 2; i <= n; i++) {
                x = list[key, i]
                for (j = i - 1; j >= 1 && list[key, j] > x; j--) list[key, j + 1] = list[key, j]
                list[key, j + 1] = x
            }
            return n % 2 ? list[key, (n + 1) / 2] : (list[key, n / 2] + list[key, n / 2 + 1]) / 2
        }
        function column(i, c, k, format,    v, b) {
            v = value[c, name[c, i], k]
            b = best[c, k]
            return sprintf(format, v) " " (b > 0 ? sprintf("(%.2f)", v / b) : "      ")
        }
        {
            key = $1 SUBSEP $2
            if (!($1 in names)) { names[$1] = 0; order[++cases] = $1 }
            if (!(key in count)) { name[$1, ++names[$1]] = $2; count[key] = 0; least[key] = $3 }
            n = ++count[key]
            for (k = 1; k <= 4; k++) list[key, k, n] = $(3 + k)
            if ($3 < least[key]) least[key] = $3
            if ($3 > most[$1]) most[$1] = $3
            if ($8 != 0) bad[key] = bad[key] " " $8
        }
        END {
            for (c = 1; c <= cases; c++) {
                cs = order[c]
                for (i = 1; i <= names[cs]; i++) {
                    nm = name[cs, i]
                    key = cs SUBSEP nm
                    for (k = 1; k <= 4; k++) {
                        v = value[cs, nm, k] = median(list, key SUBSEP k, count[key])
                        if (nm !~ /^conc/ && least[key] == most[cs] && (!((cs, k) in best) || v < best[cs, k])) best[cs, k] = v
                    }
                }
                printf "\n%-16s %16s %16s %16s %16s  %s\n", cs, "seconds", "cpu, s", "memory, MiB", "all, MiB", "right"
                for (i = 1; i <= names[cs]; i++) {
                    nm = name[cs, i]
                    key = cs SUBSEP nm
                    printf "  %-14s %16s %16s %16s %16s  %s%s\n", nm, column(i, cs, 1, "%.2f"), column(i, cs, 2, "%.2f"),
                        column(i, cs, 3, "%.1f"), column(i, cs, 4, "%.1f"), least[key],
                        bad[key] != "" ? "  ended with" bad[key] : ""
                }
            }
        }' "$results"
    echo "$skipped"
} | tee "$build/downloads.txt"
