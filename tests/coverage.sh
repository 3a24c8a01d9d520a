#!/bin/sh
# Which lines and branches of the core the tests run: of wait, sync, thread and queue. It is to be all lines, and 95 % of the
# branches. Prints what is missing, and fails if it is more than a little.
#
#   sh tests/coverage.sh ROOT BUILD      (wants gcc, its gcov, and gcovr)
#
# The behaviour tests, the stress tests and the simulated ones, each program alone, compiled with --coverage from a conc.h
# with #line directives, so that the counts are those of src/.
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
cp "$root"/tests/sim/*.h tests/sim/
for f in "$root"/tests/test_*.c "$root"/tests/sim/sim_*.c; do
    sed 's|"\.\./conc\.h"|"conc.h"|' "$f" >"tests/${f#"$root"/tests/}"
done

flags="-std=gnu99 -O0 -w -pthread --coverage -fprofile-update=atomic -I$build"
failed=0
# program NAME FLAGS SOURCE ARGUMENT...: built and run
program() {
    name=$1 more=$2 source=$3
    shift 3
    # shellcheck disable=SC2086
    if ! gcc $flags $more "$source" -o "$name" >"$name.log" 2>&1 || ! "./$name" "$@" >>"$name.log" 2>&1; then
        [ $? = 77 ] || grep -q skipped "$name.log" || { echo "$name failed:"; tail -5 "$name.log"; failed=1; }
    fi
}
rm -f tests/test_download.c # wants libcurl, and has nothing to do with these modules
for f in tests/test_*.c; do program "$(basename "$f" .c)" -DCONC_TEST_COVERAGE "$f"; done
for f in mutex rmutex debug cond; do program "debug_$f" -DCONC_DEBUG "tests/test_$f.c"; done
for f in tests/sim/sim_*.c; do
    program "stress_$(basename "$f" .c)" "" "$f"
    program "delays_$(basename "$f" .c)" -DCONC__DELAYS "$f"
    program "simulated_$(basename "$f" .c)" -DCONC_SIM "$f" -n 3000 -d 0
done

gcovr -r . --filter "src/($modules)\.c" --exclude-lines-by-pattern ".*($not_lines).*" \
    --exclude-branches-by-pattern ".*($not_branches).*" --txt lines.txt >gcovr.log 2>&1 ||
    { cat gcovr.log; exit 1; }
gcovr -r . --filter "src/($modules)\.c" --exclude-lines-by-pattern ".*($not_lines).*" \
    --exclude-branches-by-pattern ".*($not_branches).*" -b --txt branches.txt >>gcovr.log 2>&1 || { cat gcovr.log; exit 1; }
cat lines.txt branches.txt
lines=$(awk '$1 == "TOTAL" { print $4 + 0 }' lines.txt)
branches=$(awk '$1 == "TOTAL" { print $4 + 0 }' branches.txt)
echo "lines $lines %, branches $branches %"
# Some lines are for orders of events that a slow machine may not bring about this time: one or two are told, and no more.
[ "${lines:-0}" -ge 99 ] || failed=1
[ "${branches:-0}" -ge 94 ] || failed=1
exit $failed
