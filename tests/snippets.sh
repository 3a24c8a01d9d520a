#!/bin/sh
# Compiles and runs the examples of a document: README.md, or the manual in conc.h.
#
#   sh tests/snippets.sh DOCUMENT [COMPILER [FLAG...]]      (works in the current directory)
#
# An example is what stands between a line ```c and the next line ```, as in Markdown. In a C comment too: the
# indentation (and the star) before the opening fence is taken off every line. No comment can stand in a
# comment, so examples in conc.h comment with //.
#
#   ```c          with a main(): a program. Compiled with -Wall -Wextra -Werror as C99, run, exit code 0 wanted.
#                 Without: a fragment. Compiled only, either as it stands, or as the body of a function, with the
#                 declarations of snippets.h before it: whichever does.
#   ```c wrong    must not compile (as a fragment, with snippets.h).
#   ```output     after a program: what it prints, exactly.
set -u
LC_ALL=C
export LC_ALL

tests=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$tests")
document=$1
name=$(basename "$document")
cc=${2:-cc}
[ $# -lt 2 ] && shift 1 || shift 2

[ -f "$document" ] || { echo "$document: no such file"; exit 1; }
work=$PWD/snippets-$name.$$
mkdir -p "$work" || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# Examples become NUMBER.c, NUMBER.wrong or NUMBER.output (that of the example before) in $work.
awk -v work="$work" '
function ends() { close(out); out = "" }
match($0, /```/) {
    prefix = substr($0, 1, RSTART - 1)
    info = substr($0, RSTART + 3)
    sub(/[ \t\r]+$/, "", info)
    if (prefix ~ /^[ \t*]*$/) {
        if (inside) {
            if (info != "") { printf "%d: a fence ```%s within an example\n", NR, info; bad = 1 }
            if (out != "") ends()
            inside = 0
            next
        }
        inside = 1
        indent = prefix
        if (info == "c" || info == "c wrong") {
            n++
            out = work "/" n (info == "c" ? ".c" : ".wrong")
            print NR + 1 > (work "/" n ".line")
            close(work "/" n ".line")
            printf "" > out
        } else if (info == "output") {
            if (n == 0) { printf "%d: output without a program before it\n", NR; bad = 1 }
            out = work "/" n ".output"
            printf "" > out
        } else out = ""
        next
    }
}
inside && out != "" {
    line = $0
    if (substr(line, 1, length(indent)) == indent) line = substr(line, length(indent) + 1)
    else sub(/^[ \t*]*/, "", line) # shorter than the indentation: blank but for the star
    print line > out
}
END {
    if (inside) { print "the last example is not closed"; bad = 1 }
    exit bad
}' "$document" || exit 1

compile() { # FLAG... : as the document's reader would, and with no warning
    "$cc" "$@" -std=c99 -Wall -Wextra -Werror -I"$root" -pthread
}
limited() {
    if command -v timeout >/dev/null; then timeout 60 "$@"; else "$@"; fi
}
fragment() { # NUMBER SUFFIX FLAG... : 0 if it compiles in one of the two ways; the errors are in $work/errors
    f=$1.$2
    file=$f
    shift 2
    {
        printf '#include "%s/conc.h"\n' "$root"
        printf '#include <stdbool.h>\n#include <stdint.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n'
        printf '#line %d "%s"\n' "$line" "$name"
        cat "$work/$f"
    } >"$work/file.c"
    {
        printf '#include "%s/snippets.h"\n' "$tests"
        printf 'int snippet(void);\nint snippet(void) {\n'
        printf '#line %d "%s"\n' "$line" "$name"
        cat "$work/$f"
        printf '\nreturn 0;\n}\n'
    } >"$work/body.c"
    compile "$@" -Wno-unused -fsyntax-only "$work/file.c" 2>"$work/errors.file" && return 0
    compile "$@" -Wno-unused -fsyntax-only "$work/body.c" 2>"$work/errors.body" && return 0
    {
        echo "  as it stands:"
        sed -n '1,12p' "$work/errors.file"
        echo "  as the body of a function:"
        sed -n '1,12p' "$work/errors.body"
    } >"$work/errors"
    return 1
}

# For programs that show a second file, or leave the implementation to one.
printf '#define CONC_IMPLEMENTATION\n#include "%s/conc.h"\n' "$root" >"$work/conc.c"
(cd "$work" && compile "$@" -O1 -c conc.c -o conc.o) || exit 1

n=0
failed=0
cd "$work" || exit 1
while [ -f $((n + 1)).line ]; do
    n=$((n + 1))
    line=$(cat $n.line)
    at=$name:$line
    if [ -f $n.wrong ]; then
        if fragment $n wrong "$@"; then
            echo "$at: FAILED: compiles, and must not"
            failed=$((failed + 1))
        else
            echo "$at: does not compile, as it must not"
        fi
    elif ! grep -q -E '(^|[ *])main\(' $n.c; then
        if fragment $n c "$@"; then
            echo "$at: compiles"
        else
            echo "$at: FAILED: does not compile"
            cat errors
            failed=$((failed + 1))
        fi
    else
        { printf '#line %d "%s"\n' "$line" "$name" && cat $n.c; } >program.c
        others=conc.o
        if grep -q 'define CONC_\(IMPLEMENTATION\|STATIC\)' $n.c; then others=; fi
        mkdir -p "run-$n"
        if ! compile "$@" -O1 program.c $others -o "$work/program-$n" 2>errors; then
            echo "$at: FAILED: does not compile"
            sed -n '1,20p' errors
            failed=$((failed + 1))
        elif ! (cd "run-$n" && limited "$work/program-$n" </dev/null >../printed 2>../complaints); then
            echo "$at: FAILED: ran, and did not return 0"
            cat printed complaints
            failed=$((failed + 1))
        elif [ -f $n.output ] && ! diff $n.output printed >differs; then
            echo "$at: FAILED: prints (>) something else than it says (<)"
            cat differs
            failed=$((failed + 1))
        else
            echo "$at: runs"
        fi
    fi
done
echo "$name: $n examples, $failed failed"
[ $n -gt 0 ] || { echo "no example found: is the fence \`\`\`c?"; exit 1; }
[ $failed = 0 ]
