#!/bin/sh
# Has every call that can fail been made to fail, with every error it can give, once and again and again?
#
#   sh tests/faults.sh SRC BUILD
#
# What there is: the CONC__FAULT(site, errors) in SRC. What was made: the logs that the tests of faults have left in
# BUILD. The calls of a system that no test here ran on are named, and do not count.
set -eu
LC_ALL=C
export LC_ALL
src=$1
build=$2
work=$build/faults
mkdir -p "$work"

# file|site|error
for f in "$src"/*.c; do
    tr '\n' ' ' <"$f" | sed 's/CONC__FAULT[A-Z_]*("/\
@/g' | sed -n 's/^@\([^"]*\)", *\([A-Z_, ]*\)).*/\1|\2/p' | while IFS='|' read -r site errors; do
        for e in $(echo "$errors" | tr ',' ' '); do echo "$(basename "$f")|$site|$e"; done
    done
done | sort -u >"$work/there"
[ -s "$work/there" ] || { echo "no CONC__FAULT in $src"; exit 1; }

: >"$work/made.all"
logs=0
for log in "$build"/*/*.faults.log; do
    [ -f "$log" ] || continue
    cat "$log" >>"$work/made.all"
    logs=$((logs + 1))
done
tr -d '\r' <"$work/made.all" | sort -u >"$work/made"

ran() { ls "$build/$1/"*.faults.log >/dev/null 2>&1; }
missing=0 all=0
while IFS='|' read -r file site error; do
    case $file in
    port_win32.c | port_net_win32.c | port_process_win32.c) ran windows || { echo "not run here: $file: $site, $error"; continue; } ;;
    port_file_win32.c) echo "not run here: $file: $site, $error"; continue ;;
    port_file_posix.c | download*.c) ran download || { echo "not run here: $file: $site, $error"; continue; } ;;
    port_sim.c) ran sim || { echo "not run here: $file: $site, $error"; continue; } ;;
    esac
    case $site in
    kqueue | kevent) echo "not run here: $file: $site, $error"; continue ;;
    pipe | 'pipe: end' | pthread_cond_wait) ran gcc-portable || { echo "not run here: $file: $site, $error"; continue; } ;;
    esac
    for how in once sticky; do
        all=$((all + 1))
        if ! grep -qF "$site|$error|$how" "$work/made"; then
            echo "never made: $file: $site, $error, $how"
            missing=$((missing + 1))
        fi
    done
done <"$work/there"
echo "$(wc -l <"$work/there" | tr -d ' ') faults in $logs logs: $((all - missing)) of $all made (once and sticky)"
[ "$missing" -eq 0 ]
