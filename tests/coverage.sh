#!/bin/sh
# Which lines and branches of the core the tests run: of wait, sync, thread and queue. It is to be all lines, and 95 % of the
# branches. Prints what is missing, and fails if it is more than a little.
#
#   sh tests/coverage.sh ROOT BUILD      (wants gcc, its gcov, and gcovr)
#
# The behaviour tests, the stress tests and the simulated ones, compiled with --coverage from a conc.h with #line directives,
# so that the counts are those of src/.
set -u
LC_ALL=C
export LC_ALL
root=$1
build=$2/coverage
modules='wait|sync|thread|queue'

# What does not count, and why. Lines by pattern:
not_lines='CONC__OPAQUE\(\)'            # a call that is never made: see port.h
# Branches by pattern: besides those, what gcc makes of them that no program can take.
not_branches='CONC__FAULT|CONC_DEBUG'   # faults are counted by faults.sh

command -v gcovr >/dev/null || { echo "skipped: no gcovr"; exit 77; }
rm -rf "$build"
mkdir -p "$build/tests/sim" || exit 1
cd "$build" || exit 1
cp -r "$root/src" src
sh "$root/amalgamate.sh" --line -o "$build/conc.h" || exit 1
cp "$root"/tests/*.h tests/
cp "$root"/tests/sim/*.h "$root"/tests/sim/library.c tests/sim/
for f in "$root"/tests/test_*.c "$root"/tests/sim/sim_*.c; do
    sed 's|"\.\./conc\.h"|"conc.h"|' "$f" >"tests/${f#"$root"/tests/}"
done

flags="-std=gnu99 -O0 -w -pthread --coverage -fprofile-update=atomic -I$build"
failed=0
# library NAME FLAGS SOURCE: an object file, whose counts are those of all the programs that are linked with it
library() {
    # shellcheck disable=SC2086
    gcc $flags $2 -c "$3" -o "$1.o" || exit 1
}
# program NAME LIBRARY FLAGS SOURCE ARGUMENT...: built and run. (Some bring the library along: see CMakeLists.txt.)
program() {
    name=$1 with="-DCONC_TEST_SPLIT $2" more=$3 source=$4
    shift 4
    if grep -q -E '^#(if defined\(|undef )CONC_TEST_SPLIT' "$source"; then with=; fi
    # shellcheck disable=SC2086
    if ! gcc $flags $more "$source" $with -o "$name" >"$name.log" 2>&1 || ! "./$name" "$@" >>"$name.log" 2>&1; then
        [ $? = 77 ] || grep -q skipped "$name.log" || { echo "$name failed:"; tail -5 "$name.log"; failed=1; }
    fi
}
rm -f tests/test_download*.c # want libcurl, and have nothing to do with these modules
printf '#define CONC_IMPLEMENTATION\n#include "conc.h"\n' >library.c
library plain "" library.c
library debug -DCONC_DEBUG library.c
library stress -DCONC__SPLIT tests/sim/library.c
library delays "-DCONC__SPLIT -DCONC__DELAYS" tests/sim/library.c
library simulated "-DCONC__SPLIT -DCONC_SIM" tests/sim/library.c
for f in tests/test_*.c; do program "$(basename "$f" .c)" plain.o -DCONC_TEST_COVERAGE "$f"; done
for f in mutex rmutex debug cond; do program "debug_$f" debug.o -DCONC_DEBUG "tests/test_$f.c"; done
for f in tests/sim/sim_*.c; do
    program "stress_$(basename "$f" .c)" "-DCONC__SPLIT stress.o" "" "$f"
    program "delays_$(basename "$f" .c)" "-DCONC__SPLIT delays.o" -DCONC__DELAYS "$f"
    case $f in
    */sim_engine.c) continue ;;
    */sim_cond.c | */sim_mutex.c | */sim_queue.c | */sim_rwlock.c | */sim_sync.c | */sim_thread.c | */sim_wait.c) n=3000 ;;
    *) n=300 ;; # they are about other modules
    esac
    program "simulated_$(basename "$f" .c)" "-DCONC__SPLIT simulated.o" -DCONC_SIM "$f" -n $n -d 0
done

# A child that is ended in the midst of things leaves counts that do not add up, and gcov then gives negative ones.
ignore=
if gcovr --help | grep -q -e --gcov-ignore-parse-errors; then ignore=--gcov-ignore-parse-errors; fi
gcovr $ignore -r . --filter "src/($modules)\.c" --exclude-lines-by-pattern ".*($not_lines).*" \
    --exclude-branches-by-pattern ".*($not_branches).*" --json counts.json >gcovr.log 2>&1 || { cat gcovr.log; exit 1; }
gcovr -r . -a counts.json --txt lines.txt >>gcovr.log 2>&1 || { cat gcovr.log; exit 1; }
gcovr -r . -a counts.json -b --txt branches.txt >>gcovr.log 2>&1 || { cat gcovr.log; exit 1; }
cat lines.txt branches.txt
lines=$(awk '$1 == "TOTAL" { print $4 + 0 }' lines.txt)
branches=$(awk '$1 == "TOTAL" { print $4 + 0 }' branches.txt)
echo "lines $lines %, branches $branches %"
# Some lines are for orders of events that a slow machine may not bring about this time: one or two are told, and no more.
[ "${lines:-0}" -ge 99 ] || failed=1
[ "${branches:-0}" -ge 94 ] || failed=1
exit $failed
