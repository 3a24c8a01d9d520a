#!/bin/sh
# The fault table: what a bad server makes of a download, ours (examples/fetch.c) beside others that are installed.
#
#   sh tests/fault_table.sh [FAULT...]            FAULT: a name of the table's first column
#   WHO=ours sh tests/fault_table.sh              ours alone
#
# Each cell: what the exit status says, what lies at the target (the right file, a wrong one, none; part: it is not whole, but a
# file of the tool's own beside it says so), and the time. A cell with ! is a lie: success was told, and there is no right file;
# with *: failure was told, and a wrong file left at the target. HANGS: it had to be killed after 10 seconds.
# Ends with 1 if ours is ever wrong: lies, hangs, leaves what is not the right file, or fails where it could be had.
. "$(dirname "$0")/downloads.sh"

N=300000
LIMIT=10
command -v timeout >/dev/null 2>&1 || { echo "skipped: no timeout(1)"; exit 77; }
command -v sha256sum >/dev/null 2>&1 || { echo "skipped: no sha256sum"; exit 77; }
build_all
"$work/httpd" -g $N 7 >"$work/right"
sum=$(sha256sum "$work/right" | sed 's/ .*//')
serve -f none

# ---- who fetches: each puts the address $1 into the file f of its directory; $2: a checksum, or nothing --------------------------

fetch_ours() { "$work/fetch" -q -t 2 -T 9 -m 20m -o f ${2:+--sha256 "$2"} "$1"; }
fetch_curl() { curl -sS -Z -L -o f "$1"; }
fetch_curlbest() {
    curl -sS -f -L --proto-redir =http,https --retry 5 --retry-all-errors --retry-delay 1 --remove-on-error \
        --speed-limit 1 --speed-time 2 --max-time 9 --max-filesize 20000000 -o f "$1"
}
fetch_aria2() {
    aria2c -q --no-conf -t 2 --connect-timeout=2 -m 5 --retry-wait=1 --lowest-speed-limit=1 --auto-file-renaming=false \
        -o f ${2:+--checksum=sha-256="$2"} "$1"
}
fetch_wget2() { wget2 -q --no-config --tries=5 --waitretry=1 --timeout=2 -O f "$1"; }
fetch_requests() {
    python3 -c 'import requests, sys
r = requests.get(sys.argv[1], timeout=(2, 2))
open("f", "wb").write(r.content)' "$1"
}
who=ours
command -v curl >/dev/null 2>&1 && who="$who curl curlbest"
command -v aria2c >/dev/null 2>&1 && who="$who aria2"
command -v wget2 >/dev/null 2>&1 && who="$who wget2"
command -v python3 >/dev/null 2>&1 && python3 -c 'import requests' 2>/dev/null && who="$who requests"
who=${WHO:-$who}

# attempt TOOL FAULT CHECKSUM: prints the cell
attempt() {
    rm -rf "${work:?}/$1" && mkdir "$work/$1" && cd "$work/$1" || exit 1
    case $2 in missing) address="$url/missing?$1" ;; *) address="$url/bytes/$N?seed=7&who=$1&run=$3&fault=$2" ;; esac
    export url work
    begun=$(date +%s.%N)
    timeout -k 1 $LIMIT sh "$work/tools.sh" "$1" "$address" "$4" >"$work/$1.log" 2>&1
    status=$?
    seconds=$(echo "$begun $(date +%s.%N)" | awk '{ printf "%.1f", $2 - $1 }')
    if [ ! -e f ]; then file=none
    elif cmp -s f "$work/right"; then file=right
    elif [ -e f.aria2 ]; then file=part
    else file=wrong
    fi
    mark=
    [ $status -eq 0 ] && [ $file != right ] && mark='!'
    [ $status -ne 0 ] && [ $file = wrong ] && mark='*'
    case $status in
    124 | 137) echo "HANGS,$file$mark $seconds" ;;
    0) echo "ok,$file$mark $seconds" ;;
    *) echo "fails,$file$mark $seconds" ;;
    esac
}
# The functions in a file of their own, so that timeout(1) can run them.
{
    sed -n '/^fetch_ours/,/^who=/p' "$0" | sed '$d'
    # shellcheck disable=SC2016
    echo 'tool=$1; shift; fetch_$tool "$@"'
} >"$work/tools.sh"

# ---- the table ---------------------------------------------------------------------------------------------------------------

printf '%-26s' fault
for tool in $who; do printf '%-18s' "$tool"; done
echo
rows=0
bad=0
run=0
# row NAME WANTED FAULT [sum]: WANTED of ours: right; none: with a failure told; either: of the two
row() {
    case " $only " in "  " | *" $1 "*) ;; *) return ;; esac
    run=$((run + 1))
    checksum=
    [ "${4:-}" = sum ] && checksum=$sum
    jobs=
    for tool in $who; do
        attempt "$tool" "$3" "$run" "$checksum" >"$work/cell.$tool" &
        jobs="$jobs $!"
    done
    # shellcheck disable=SC2086
    wait $jobs
    printf '%-26s' "$1"
    for tool in $who; do
        printf '%-18s' "$(cat "$work/cell.$tool")"
        cat "$work/cell.$tool" >>"$work/cells.$tool"
    done
    case $2:$(sed 's/ .*//' "$work/cell.ours") in
    right:ok,right | none:fails,none | either:ok,right | either:fails,none) echo ;;
    *)
        echo "  <- WRONG: wanted of ours: $2"
        sed 's/^/    /' "$work/ours.log"
        bad=$((bad + 1))
        ;;
    esac
    rows=$((rows + 1))
}

only="$*"
row fine right none
row late right delay=1000
row slow right drip=20,piece=3000
row no-length right nolength
row chunked right chunked
row no-tag right notag,nodate,reset=100000,times=1
echo "-- the connection"
row closed-before-header right close=-1,times=1
row closed-half-way right close=100000,times=1
row closed-twice right close=100000,times=2
row closed-each-time right close=100000
row reset-before-header right reset=-1,times=1
row reset-half-way right reset=100000,times=1
row stalls-before-header right stall=-1,times=1
row stalls-half-way right stall=100000,times=1
row stalls-always none stall=-1
row chunks-cut right chunked,close=100000,times=1
row chunks-without-end either chunked,close=$N
row chunks-cut-always either chunked,close=100000
row no-length-cut+sum either nolength,close=100000,times=1 sum
echo "-- the answer"
row 404 none missing
row 503-always none status=503
row 503-twice right status=503,times=2
row 429-retry-after right status=429,after=1,times=1
row 503-retry-at right status=503,after=-2,times=1
row 503-retry-in-an-hour none status=503,after=3600
row garbage either garbage,times=1
row garbage-always none garbage
row header-without-end none longhead
row endless none endless
row bad-chunk right badchunk,times=1
row bad-chunk-always none badchunk
echo "-- redirects"
row three right redirect=3
row loop none redirect=-1
row to-a-file none to=file:///etc/passwd
row to-gopher none to=gopher://127.0.0.1/
echo "-- lengths and ranges"
row length-too-large right length=5000,close=$N,times=1
row length-too-large-always either length=5000,close=$N
row length-too-small+sum none length=-5000 sum
row range-overlooked right 'close=100000,times=1;norange'
row range-another right 'close=100000,times=1;range=1000'
row range-another-total either 'close=100000,times=1;total=5'
row range-refused right 'close=100000,times=1;refuse'
echo "-- another file"
row changed right other,reset=100000,times=1
row changed-no-tag right other,notag,nodate,reset=100000,times=1
row changed-same-tag+sum either other,sametag,reset=100000,times=1 sum
row changed-whole+sum either other,times=1 sum

# What each did wrong, in all.
for what in 'lies=!' 'wrong files=wrong[*]' 'hangs=^HANGS'; do
    printf '%-26s' "${what%%=*}"
    for tool in $who; do printf '%-18s' "$(grep -c "${what#*=}" "$work/cells.$tool")"; done
    echo
done
echo "$rows rows, $bad of ours wrong"
[ $bad -eq 0 ]
