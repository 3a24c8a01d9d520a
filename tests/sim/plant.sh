#!/bin/sh
# Plants one of the bugs of bugs.txt: writes conc.h, with that bug in it, into a directory.
#
#   sh tests/sim/plant.sh CONC_H N DIRECTORY      plants bug N
#   sh tests/sim/plant.sh CONC_H                  lists the bugs: number, program, test, what it is
#
# bugs.txt holds blocks of this form; a block's `-` lines, together, must stand in conc.h exactly once (blanks at the
# ends do not count), and are replaced by its `+` lines:
#
#   bug 7 sync mutex_excludes: unlock forgets the sleepers
#   -     if (x) wake();
#   +     if (0) wake();
#
# So the bugs are no part of the library's sources, and one whose place has changed is told at once.
set -eu
LC_ALL=C
export LC_ALL
here=$(cd "$(dirname "$0")" && pwd)
header=$1
if [ $# -eq 1 ]; then
    sed -n 's/^bug \([0-9]*\) \([a-z_]*\) \([a-zA-Z0-9_]*\): \(.*\)/\1 \2 \3 \4/p' "$here/bugs.txt"
    exit 0
fi
number=$2
directory=$3
mkdir -p "$directory"
awk -v number="$number" '
    function trim(s) { sub(/^[ \t]+/, "", s); sub(/[ \t]+$/, "", s); return s }
    FNR == NR {
        if ($1 == "bug") mine = $2 == number
        else if (mine && /^-/) old[++olds] = trim(substr($0, 2))
        else if (mine && /^\+/) new[++news] = substr($0, 2)
        next
    }
    { line[++lines] = $0 }
    END {
        if (olds == 0) { print "bugs.txt has no bug " number > "/dev/stderr"; exit 1 }
        for (i = 1; i + olds - 1 <= lines; i++) {
            for (k = 1; k <= olds && trim(line[i + k - 1]) == old[k]; k++) { }
            if (k > olds) { places++; at = i }
        }
        if (places != 1) {
            print "bug " number ": its lines stand in conc.h " places + 0 " times, not once" > "/dev/stderr"
            exit 1
        }
        for (i = 1; i < at; i++) print line[i]
        for (k = 1; k <= news; k++) print new[k]
        for (i = at + olds; i <= lines; i++) print line[i]
    }' "$here/bugs.txt" "$header" >"$directory/conc.h.new"
mv "$directory/conc.h.new" "$directory/conc.h"
