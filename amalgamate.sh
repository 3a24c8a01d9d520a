#!/bin/sh
# Joins src/ into the single file conc.h. POSIX sh and awk, nothing else; the same bytes on every machine.
#
#   ./amalgamate.sh            writes conc.h
#   ./amalgamate.sh --check    is conc.h what src/ gives? If not: says how to mend it, exits 1
#   ./amalgamate.sh --line     writes conc.h with #line directives, so that a compiler and a debugger speak
#                              of src/ (for development; such a conc.h is never committed)
#   ./amalgamate.sh -o FILE    writes (or, with --check, compares) FILE instead of conc.h

# The files, floor upon floor: each may include only what stands before it.
DECLARATIONS='manual.h config.h core.h frame.h wait.h sync.h thread.h queue.h iter.h future.h pool.h parallel.h gen.h coro.h loop.h net.h process.h procpool.h download.h sim.h'
IMPLEMENTATION='places_off.h port.h port_sim.h internal.h core.c fault.c port_posix.c port_win32.c port_net_posix.c port_net_win32.c
                port_poller.c port_process_posix.c port_process_win32.c port_file_posix.c port_file_win32.c port_sim.c wait.c sync.c sync_debug.c thread.c timer.c queue.c
                iter.c future.c pool.c job.c pool_group.c parallel.c frame.c gen.c wheel.c loop.c group.c offload.c report.c net.c
                channel.c process.c procpool_ring.h procpool_worker.c procpool.c procpool_map.c download_file.c download_curl.c
                download_process.c download_bars.c download.c sim.c'
AFTERWORDS='places.h license.h'

set -eu
LC_ALL=C
export LC_ALL

fail() {
    echo "amalgamate.sh: $*" >&2
    exit 1
}

check=0
line=0
out=
here=$(pwd)
while [ $# -gt 0 ]; do
    case $1 in
    --check) check=1 ;;
    --line) line=1 ;;
    -o)
        [ $# -ge 2 ] || fail "-o wants the name of a file"
        shift
        case $1 in /*) out=$1 ;; *) out=$here/$1 ;; esac
        ;;
    -h | --help)
        sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
        exit 0
        ;;
    *) fail "unknown argument $1 (try --help)" ;;
    esac
    shift
done
[ "$check$line" != 11 ] || fail "--check compares what is committed, and that has no #line directives"

cd "$(dirname "$0")"
[ -n "$out" ] || out=conc.h

for f in $DECLARATIONS $IMPLEMENTATION $AFTERWORDS; do
    [ -f "src/$f" ] || fail "src/$f is missing: write it, or take it off the list at the top of amalgamate.sh"
done
for f in src/*.[ch]; do # a new module that nobody put on the list would be left out without a word
    case " $(echo $DECLARATIONS $IMPLEMENTATION $AFTERWORDS) " in
    *" ${f#src/} "*) ;;
    *) fail "$f is not on the list at the top of amalgamate.sh: add it there, after all that it includes" ;;
    esac
done

# awk reads the files in order. DECL, IMPL and AFTER in its argument list are where the parts begin.
generate() {
    awk -v with_lines="$line" '
    # What is left of a line without comments and string contents. `in_comment` lives from line to line.
    function code_of(s,    r, i, c, two) {
        r = ""
        for (i = 1; i <= length(s); i++) {
            c = substr(s, i, 1)
            two = substr(s, i, 2)
            if (in_comment) {
                if (two == "*/") { in_comment = 0; i++ }
            } else if (two == "/*") { in_comment = 1; i++; r = r " "
            } else if (two == "//") { break
            } else if (c == "\"" || c == "\047") {
                r = r c
                for (i++; i <= length(s) && substr(s, i, 1) != c; i++) {
                    if (substr(s, i, 1) == "\\") i++
                    else r = r substr(s, i, 1)
                }
                r = r c
            } else r = r c
        }
        sub(/^[ \t]+/, "", r)
        sub(/[ \t]+$/, "", r)
        return r
    }
    function die(text) {
        printf "amalgamate.sh: src/%s:%d: %s\n", file, number, text | "cat 1>&2"
        failed = 1
        exit 1
    }
    function emit(s) { print s; written++ }
    function own_place() { if (with_lines) emit("#line " (written + 2) " \"conc.h\"") }
    function banner(what) {
        own_place()
        emit("/* ==== " what " src/" file " ==== */")
    }
    # One file. Directives are looked at, everything else is copied.
    function take(    s, code, d, depth, base, guard, removed, blank, name, word) {
        banner("begin")
        emit("")
        if (with_lines) emit("#line 1 \"src/" file "\"")
        number = in_comment = depth = base = removed = blank = 0
        guard = ""
        while ((getline s < ("src/" file)) > 0) {
            number++
            sub(/\r$/, "", s)
            code = code_of(s)
            if (code ~ /^#/) {
                d = code
                sub(/^#[ \t]*/, "", d)
                word = d
                sub(/[^a-z].*/, "", word)
                if (word == "if" || word == "ifdef" || word == "ifndef") {
                    depth++
                    if (depth == 1 && guard == "" && file ~ /\.h$/ && word == "ifndef") {
                        guard = d
                        sub(/^ifndef[ \t]+/, "", guard)
                        base = 1 # what stands in the include guard alone is not conditional
                    } else if (guard == "") guard = "-"
                } else if (word == "endif") {
                    depth--
                    if (depth < 0) die("#endif without #if")
                } else if (word == "include") {
                    name = d
                    sub(/^include[ \t]*/, "", name)
                    if (name ~ /^"/) {
                        gsub(/"/, "", name)
                        if (!(name in taken))
                            die("includes \"" name "\", which does not stand before it on the list: floors only go down")
                        removed = 1
                    } else if (name ~ /^</ && depth == base) {
                        if ((part, name) in system_includes) removed = 1
                        system_includes[part, name] = 1
                    }
                    if (removed) { # --line keeps the count of lines; otherwise no two blank lines stay behind
                        removed = 0
                        if (with_lines) emit("")
                        else if (blank) skip_blank = 1
                        continue
                    }
                }
            }
            if (s == "" && skip_blank) { skip_blank = 0; continue }
            skip_blank = 0
            emit(s)
            blank = s == ""
        }
        close("src/" file)
        if (in_comment) die("the file ends in a comment")
        if (depth != 0) die("the file ends within an #if")
        if (number == 0) die("the file is empty")
        if (!blank) emit("")
        banner("end")
        emit("")
        taken[file] = 1
    }
    BEGIN {
        emit("/* conc.h is generated from src/ by amalgamate.sh: edit there, then run ./amalgamate.sh. */")
        emit("")
        for (a = 1; a < ARGC; a++) {
            file = ARGV[a]
            if (file == "DECL") part = "declarations"
            else if (file == "IMPL") {
                part = "implementation"
                own_place()
                emit("#if defined(CONC_IMPLEMENTATION) && !defined(CONC__IMPLEMENTED)")
                emit("#define CONC__IMPLEMENTED")
                emit("")
            } else if (file == "AFTER") {
                part = "afterwords"
                own_place()
                emit("#endif /* CONC_IMPLEMENTATION */")
                emit("")
            } else take()
        }
        exit failed
    }' DECL $DECLARATIONS IMPL $IMPLEMENTATION AFTER $AFTERWORDS
}

new=$out.new.$$
[ "$check" = 0 ] || new=${TMPDIR:-/tmp}/conc.h.new.$$
trap 'rm -f "$new"' EXIT
trap 'exit 1' HUP INT TERM
generate >"$new" || exit 1

if [ "$check" = 1 ]; then
    if cmp -s "$new" "$out"; then
        exit 0
    fi
    if [ -f "$out" ]; then
        diff "$out" "$new" | sed -n '1,20p' >&2 || :
        echo "amalgamate.sh: $out is not what src/ gives. Mend it with: ./amalgamate.sh && git add conc.h" >&2
    else
        echo "amalgamate.sh: $out is missing. Mend it with: ./amalgamate.sh && git add conc.h" >&2
    fi
    exit 1
fi
mv "$new" "$out"
