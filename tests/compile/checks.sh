#!/bin/sh
# What a compile alone does not tell about conc.h. checks.sh WHAT COMPILER [FLAG...], called by CTest in a
# directory of its own; exit code 0 good, 1 bad, 77 cannot be told here.
#
#   includes   the declarations pull in stddef.h, stdint.h and stdbool.h and nothing else
#   macros     the declarations leave no macro but CONC_*, CO_* and conc_*; the implementation defines no other
#   names      the declarations declare nothing but conc_* and CONC_* (wants clang)
#   symbols    the object file defines nothing but conc_*; with CONC_STATIC nothing that others could see
#   used       macros.c uses every public macro; codegen/user.c names every function
#   size       a program that uses only a mutex carries less than 20 KiB of the library's code
#   times      prints how long it takes to compile (no judgement: that is the machine's)
set -u
LC_ALL=C
export LC_ALL

what=$1
cc=$2
shift 2
here=$(cd "$(dirname "$0")" && pwd)
conc=$(cd "$here/../.." && pwd)/conc.h

work=$PWD/checks-$what.$$
mkdir -p "$work" || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
cd "$work" || exit 1

printf '#include "%s"\n' "$conc" >decl.c
printf '#define CONC_IMPLEMENTATION\n#include "%s"\n' "$conc" >impl.c
printf '#define CONC_STATIC\n#include "%s"\n' "$conc" >static.c
printf '#include <stdbool.h>\n#include <stddef.h>\n#include <stdint.h>\n' >three.c

bad() { # TEXT, and on stdin the list of what is wrong, if any
    sed 's/^/    /' >list
    if [ -s list ]; then
        echo "$1:"
        cat list
        status=1
    fi
}
status=0

case $what in
includes)
    "$cc" "$@" -H -fsyntax-only decl.c 2>headers || { cat headers; exit 1; }
    # ". conc.h", ".. stddef.h": what conc.h itself asks for has two dots.
    grep '^\.\. ' headers | sed 's|.*/||' | sort -u >asked
    [ -s asked ] || { echo "the compiler listed no headers"; exit 1; }
    grep -v -x -e stdbool.h -e stddef.h -e stdint.h asked | bad "the declarations include more than they may"
    ;;
macros)
    for f in decl three; do
        "$cc" "$@" -dM -E $f.c >$f.macros || exit 1
        sed -n 's/^#define \([A-Za-z_0-9]*\).*/\1/p' $f.macros | sort -u >$f.names
    done
    [ "$(grep -c '^CONC_' decl.names)" -gt 10 ] || { echo "the compiler listed no macros"; exit 1; }
    comm -23 decl.names three.names | grep -v -E '^(CONC_|CO_|conc_)' | bad "the declarations leave macros behind"
    # The implementation includes system headers, so look at what is written in it.
    sed -n 's/^[ \t]*#[ \t]*define[ \t]*\([A-Za-z_0-9]*\).*/\1/p' "$conc" | sort -u >written
    sed -n 's/^[ \t]*#[ \t]*undef[ \t]*\([A-Za-z_0-9]*\).*/\1/p' "$conc" | sort -u >undone
    # (Two are switches that windows.h looks at; they have to have these names.)
    comm -23 written undone | grep -v -E '^(CONC_|CO_|conc_)' | grep -v -x -e WIN32_LEAN_AND_MEAN -e NOMINMAX |
        bad "the implementation defines macros of other names"
    ;;
names)
    for f in decl three; do
        "$cc" "$@" -Xclang -ast-dump -fsyntax-only -fno-color-diagnostics $f.c >$f.ast || exit 1
        # Declarations of file scope, and the constants of enums: "|-FunctionDecl 0x... <...> col:15 used NAME 'type'"
        sed -n -E -e '/^[|`]-[A-Za-z]+Decl /b decl' -e '/[|`]-EnumConstantDecl /b decl' -e d -e ': decl' \
            -e 's/^.*Decl 0x[0-9a-f]+ //' -e 's/^(prev|parent) 0x[0-9a-f]+ //' -e 's/^(prev|parent) 0x[0-9a-f]+ //' \
            -e 's/^<+[^>]*>+ //' -e 's/^<[^>]*>, [^ ]* //' \
            -e "s/ '.*//" -e 's/ definition$//' -e 's/ static.*$//' -e 's/ inline$//' -e 's/ extern$//' \
            -e 's/^.* ([A-Za-z_][A-Za-z_0-9]*)$/\1/p' $f.ast | sort -u >$f.names
    done
    comm -23 decl.names three.names >ours
    for n in conc_mutex conc_op conc_result conc_queue_new CONC_OK CONC_TIMEOUT conc_deadline_min; do
        grep -q -x $n ours || { echo "the list of names lacks $n: this check does not understand the compiler"; exit 1; }
    done
    grep -v -E '^(conc_|CONC_)' ours | grep -v -E '^(struct|union|enum)$' | bad "the declarations declare other names"
    ;;
symbols)
    command -v nm >/dev/null || { echo "no nm here"; exit 77; }
    "$cc" "$@" -O1 -c impl.c -o impl.o && "$cc" "$@" -O1 -c static.c -o static.o || exit 1
    # "ADDRESS LETTER NAME"; macOS puts an underscore before each name. Upper case letters: others see it.
    nm impl.o | awk 'NF == 3 { print $2, $3 }' | sed 's/ _conc/ conc/' >symbols
    [ "$(grep -c '^T conc_' symbols)" -gt 50 ] || { echo "nm listed no functions"; exit 1; }
    grep '^[A-TV-Z] ' symbols | grep -v -E '^. conc_' | bad "symbols of other names that others can see"
    # The file's own names share it with the user's program: these too. (What begins with a dot or an
    # underscore, or is numbered under a name of ours, is the compiler's.)
    grep '^[a-tx-z] ' symbols | grep -v -E '^. (conc_|\.|_)' | grep -v -E '^. (CSWTCH|__func__|__PRETTY_FUNCTION__)' |
        grep -v -E '^[bdr] [a-z_]+\.[0-9]+$' | bad "symbols of the file's own that have other names"
    nm static.o | awk 'NF == 3 && $2 ~ /^[A-TV-Z]$/ { print $3 }' | grep -v '^only_this' |
        bad "CONC_STATIC leaves symbols that others can see"
    ;;
used)
    "$cc" "$@" -dM -E decl.c | sed -n 's/^#define \([A-Za-z_0-9]*\).*/\1/p' |
        grep -E '^(CONC_|CO_|conc_)' | grep -v -E '^(CONC__|CO__|conc__)' | sort -u >public
    [ "$(wc -l <public)" -gt 20 ] || { echo "the compiler listed no macros"; exit 1; }
    while read -r m; do
        grep -q -w "$m" "$here/macros.c" || echo "$m"
    done <public | bad "public macros that tests/compile/macros.c does not use"
    "$cc" "$@" -E decl.c | grep -o -E 'conc_[a-z_0-9]+\(' | sed 's/(//' | sort -u >functions
    [ "$(wc -l <functions)" -gt 80 ] || { echo "the compiler listed no functions"; exit 1; }
    while read -r f; do
        case $f in *_bytes) g=${f%_bytes} ;; *) g=$f ;; esac
        grep -q -w -E "$f|$g|${f#conc_}|${g#conc_}" "$here/../codegen/user.c" || echo "$f"
    done <functions | bad "functions that tests/codegen/user.c neither probes nor says why not"
    ;;
size)
    command -v nm >/dev/null || { echo "no nm here"; exit 77; }
    "$cc" "$@" -Os -ffunction-sections -fdata-sections -c "$here/only_mutex.c" -o program.o || exit 1
    "$cc" "$@" program.o -o program -pthread -Wl,--gc-sections ||
        { echo "the linker cannot collect sections"; exit 77; }
    nm -S --size-sort program | awk 'NF == 4 && $4 ~ /^conc_/ { print $2, $3, $4 }' >sizes
    grep -q -i ' t conc_mutex_lock' sizes || { echo "nm listed no conc_mutex_lock"; exit 1; }
    awk '
    function hex(s,    i, v) {
        v = 0
        for (i = 1; i <= length(s); i++) v = v * 16 + index("0123456789abcdef", tolower(substr(s, i, 1))) - 1
        return v
    }
    { n = hex($1); k = tolower($2); sum[k] += n; if (k == "t") printf "    %6d %s\n", n, $3 }
    END {
        printf "code %d bytes, constants %d, data %d, zeroed data %d\n", sum["t"], sum["r"], sum["d"], sum["b"]
        if (sum["t"] >= 20 * 1024) { print "that is more than 20 KiB of code"; exit 1 }
    }' sizes || status=1
    ;;
times)
    seconds() { # the least of three, in milliseconds of the clock; "date +%N" is GNU's, so count many where it is not
        case $(date +%N) in
        *N* | '') echo "this system's date has no nanoseconds" && exit 77 ;;
        esac
        best=
        for i in 1 2 3; do
            t0=$(date +%s%N)
            "$@" || exit 1
            t1=$(date +%s%N)
            ms=$(((t1 - t0) / 1000000))
            [ -n "$best" ] && [ "$best" -le "$ms" ] || best=$ms
        done
    }
    seconds "$cc" "$@" -c three.c -o three.o
    base=$best
    seconds "$cc" "$@" -c decl.c -o decl.o
    echo "declarations: $((best - base)) ms more than stddef.h, stdint.h and stdbool.h alone ($base ms)"
    seconds "$cc" "$@" -O2 -c impl.c -o impl.o
    echo "implementation at -O2: $best ms"
    ;;
*)
    echo "checks.sh: unknown: $what"
    status=1
    ;;
esac
exit $status
