#!/bin/sh
# fetch is killed (kill -9) at random moments, again and again, and each time called anew: in the end every file is
# whole, none was ever there that was not, nothing else is left, and hardly anything was fetched twice.
#
#   sh tests/kill_fetch.sh [KILLS [SEED [ENGINE]]]         (20; 1; coroutines)
#
# The server counts what it has sent. Beyond the files themselves that may be, for each kill, what was on its way, or
# had come and was not yet in the note from which one goes on: at most $WASTE bytes for each transfer that was under
# way.
. "$(dirname "$0")/downloads.sh"

KILLS=${1:-20}
SEED=${2:-1}
ENGINE=${3:-coroutines}
FILES='3000000 5000000 20000000 1000000 4000000 2000000 100 0' # bytes of each; the third in pieces
WASTE=400000
build_all
serve -f none
: >"$work/list"
mkdir "$work/right"
total=0
for n in $FILES; do
    "$work/httpd" -g "$n" "$n" >"$work/right/$n"
    echo "$url/bytes/$n?seed=$n&fault=drip=4,piece=65536 $n sha256:$(sha256sum "$work/right/$n" | sed 's/ .*//')" >>"$work/list"
    total=$((total + n))
done
fetch() { "$work/fetch" -q -c -e "$ENGINE" -j 5 -x 3 -d "$work/got" -i "$work/list"; }

# whole: no file in got that is not whole. Sets `left`: how many are not there
whole() {
    left=0
    for n in $FILES; do
        if [ ! -e "$work/got/$n" ]; then left=$((left + 1))
        elif ! cmp -s "$work/got/$n" "$work/right/$n"; then
            echo "FAILED: after $kills kills (seed $SEED) $n is there, and not right"
            exit 1
        fi
    done
}

kills=0
rounds=0
mkdir "$work/got"
before=$(served)
# Pauses between 5 ms and 1 s, short ones more often.
awk -v n="$KILLS" -v seed="$SEED" 'BEGIN { srand(seed); for (i = 0; i < n; i++) printf "%.3f\n", 0.005 * exp(rand() * log(200)) }' >"$work/pauses"
while read -r pause; do
    "$work/fetch" -q -c -e "$ENGINE" -j 5 -x 3 -d "$work/got" -i "$work/list" 2>"$work/fetch.log" &
    pid=$!
    sleep "$pause"
    kill -9 $pid 2>/dev/null
    wait $pid 2>/dev/null
    kills=$((kills + 1))
    whole
    if [ $left -eq 0 ]; then # begin anew
        rounds=$((rounds + 1))
        rm -rf "$work/got" && mkdir "$work/got"
    fi
done <"$work/pauses"

if ! fetch; then
    echo "FAILED: the last call, which was not killed (seed $SEED)"
    exit 1
fi
rounds=$((rounds + 1))
whole
debris=$(cd "$work/got" && for f in $FILES; do rm -f "./$f"; done && find . -type f)
if [ $left -ne 0 ] || [ -n "$debris" ]; then
    echo "FAILED: $left files are not there; and there is, beside them: $debris"
    exit 1
fi
sent=$(($(served) - before))
twice=$((sent - rounds * total))
echo "$kills kills, $rounds times $total bytes: all whole; sent: $sent, so twice: $twice, for each kill $((twice / kills))"
[ $((twice / kills)) -le $((5 * WASTE)) ] || { echo "FAILED: too much was fetched twice"; exit 1; }
