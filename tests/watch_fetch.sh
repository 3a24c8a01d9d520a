#!/bin/sh
# The name of a file that is fetched is not there before the file is whole: fetch with each engine, in pieces, and over a target that is there
# already; and what others do that are installed. A watcher looks at the target all the time.
#
#   sh tests/watch_fetch.sh
#
# Ends with 1 if of ours anything but the whole file was ever seen.
. "$(dirname "$0")/downloads.sh"

N=20000000
build_all
build watcher tests/watcher.c
"$work/httpd" -g $N 3 >"$work/right"
serve -f none
address="$url/bytes/$N?seed=3&fault=drip=10,piece=262144" # a second or so
bad=0

watch() { # NAME COMMAND...: which fetches into f
    printf '%-22s' "$1"
    tool=$1
    shift
    rm -f "$work/f" "$work"/f.*
    (cd "$work" && ./watcher f right "$@" 2>"$work/watch.log")
    code=$?
    case $tool:$code in
    fetch*:0) ;;
    fetch*)
        cat "$work/watch.log"
        bad=$((bad + 1))
        ;;
    esac
}

watch fetch ./fetch -q -o f "$address"
watch fetch,threads ./fetch -q -e threads -o f "$address"
watch fetch,processes ./fetch -q -e processes -o f "$address"
watch fetch,pieces ./fetch -q -x 4 -o f "$address"
watch fetch,resumed ./fetch -q -o f "$url/bytes/$N?seed=3&fault=drip=10,piece=262144,close=9000000,times=2"
has() { command -v "$1" >/dev/null 2>&1; }
has curl && watch curl curl -s -o f "$address"
has aria2c && watch aria2 aria2c -q --no-conf --file-allocation=none -o f "$address"
has wget && watch wget wget -q --no-config -O f "$address"
has wget2 && watch wget2 wget2 -q --no-config -O f "$address"
has python3 && python3 -c 'import requests' 2>/dev/null && watch requests python3 -c 'import requests, sys
r = requests.get(sys.argv[1], stream=True)
with open("f", "wb") as f:
    for piece in r.iter_content(65536): f.write(piece)' "$address"
echo "$bad of ours wrong"
[ $bad -eq 0 ]
