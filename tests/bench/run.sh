#!/bin/sh
# Measures conc.h beside the peers that are installed, in one run, and prints one table for each group.
#
#     sh tests/bench/run.sh [options] [group ...]
#
# Groups: locks rwlock pingpong queue thread sums pool forkjoin parallel iter coro timers procpool echo size. None named: all
# of these. And downloads, alone: see downloads.sh, which has options of its own.
# Options: -n ROUNDS  how often each is measured (default 5; conc.h once after each peer)
#          -i REGEX   only the peers whose names match         -c REGEX  only the cases whose names match
#          -H DIR     the directory of another conc.h          -b DIR    build here (default build/bench)
#          -t SECONDS stop measuring after this time, with one round at least (default 900)
#          -p CPUS    pin all programs to these processors, "0,1" (default: not pinned)
#          -l         only list what would be measured
#
# Each measurement is a process of its own: 40 ms of warm-up, then 200 ms that count (BENCH_WARM, BENCH_MS). If
# others kept the machine busy meanwhile it is measured again (runner.c), in the first part of the time. Nothing is
# asserted about time; a failure means that an implementation lost an item or did not exclude.
# The echo servers run on one processor and their load on another, of those that -p leaves (bench_echo.c).

set -u
LC_ALL=C
export LC_ALL
here=$(cd "$(dirname "$0")" && pwd) || exit 1
for last in "$@"; do :; done
if [ "${last:-}" = downloads ]; then exec sh "$here/downloads.sh" "$@"; fi
root=$(cd "$here/../.." && pwd) || exit 1

rounds=5 peers=. only=. conc=$root build=$root/build/bench budget=900 pin='' list_only=''
while getopts n:i:c:H:b:t:p:l option; do
    case $option in
    n) rounds=$OPTARG ;;
    i) peers=$OPTARG ;;
    c) only=$OPTARG ;;
    H) conc=$OPTARG ;;
    b) build=$OPTARG ;;
    t) budget=$OPTARG ;;
    p) pin=$OPTARG ;;
    l) list_only=1 ;;
    *) exit 2 ;;
    esac
done
shift $((OPTIND - 1))
groups=${*:-locks rwlock pingpong queue thread sums pool forkjoin parallel iter coro timers procpool echo size}

mkdir -p "$build" || exit 1
build=$(cd "$build" && pwd)
conc=$(cd "$conc" && pwd) || exit 1
log=$build/build.log
: >"$log"
: >"$build/skipped"

cc=${CC:-cc}
cxx=${CXX:-c++}
flags="-O2 -pthread"
have() { command -v "$1" >/dev/null 2>&1; }
skip() { echo "skipped: $1" >>"$build/skipped"; }

# ---- build what is installed ------------------------------------------------------------------------------

programs=
# built NAME "what to say if it cannot be built" command ...: the command builds $build/bench_NAME
built() {
    name=$1 say=$2
    shift 2
    rm -f "$build/bench_$name"
    if "$@" >>"$log" 2>&1 && [ -f "$build/bench_$name" ]; then
        programs="$programs $name"
    else
        skip "$say"
    fi
}
c() { "$cc" -std=c99 $flags -I"$here" -o "$build/bench_$1" "$here/bench_$1.c" $2; }
cplusplus() { "$cxx" -std=c++17 $flags -I"$here" -o "$build/bench_$1" "$here/bench_$1.cc" $2; }
package() { pkg-config --cflags --libs "$1" 2>/dev/null || echo "-l$2"; }

echo "building in $build" >&2
"$cc" -std=c99 -O2 -o "$build/runner" "$here/runner.c" 2>>"$log" || { echo "no C compiler: see $log" >&2; exit 1; }
build_conc() {
    "$cc" -std=c99 $flags -c -I"$conc" -o "$build/conc_code.o" "$here/conc_code.c" &&
        "$cc" -std=c99 $flags -I"$conc" -I"$here" -o "$build/bench_conc" "$here/bench_conc.c" "$build/conc_code.o"
}
build_conc_with() {
    "$cc" -std=c99 $flags -I"$conc" -I"$here" -o "$build/bench_$1" "$here/bench_$1.c" "$build/conc_code.o"
}
build_conc_timers() { "$cc" -std=c99 $flags -I"$conc" -I"$here" -o "$build/bench_timers" "$here/bench_timers.c"; }
build_conc_echo() { "$cc" -std=c99 $flags -I"$conc" -I"$here" -o "$build/echo_conc" "$here/echo_conc.c" "$build/conc_code.o"; }
# an echo server, which bench_echo finds beside itself
echo_server() {
    rm -f "$build/echo_$1"
    "$cc" -std=c99 $flags -w -I"$here" -o "$build/echo_$1" "$here/echo_$1.c" $2 >>"$log" 2>&1
}
built pthread "pthread: does not build, see $log" c pthread ""
if [ -f "$conc/conc.h" ]; then
    built conc "conc.h ITSELF: does not build, see $log" build_conc
    built pool "conc.h's thread pool: does not build, see $log" build_conc_with pool
    built iter "conc.h's iterators: do not build, see $log" build_conc_with iter
    built coro "conc.h's coroutines: do not build, see $log" build_conc_with coro
    built procpool "conc.h's process pool: does not build, see $log" build_conc_with procpool
    built timers "conc.h's timers: do not build, see $log" build_conc_timers
    rm -f "$build/echo_conc"
    build_conc_echo >>"$log" 2>&1 || skip "conc.h's echo server: does not build, see $log"
    built size "size: does not build, see $log" c size ""
else
    skip "conc.h ITSELF: there is none in $conc (./amalgamate.sh makes it)"
fi
built serial "serial: does not build, see $log" c serial ""
built openmp "OpenMP: the C compiler has none" c openmp -fopenmp
built nsync "nsync: install libnsync-dev" c nsync -lnsync
built ck "Concurrency Kit: install libck-dev" c ck ""
built glib "GLib: install libglib2.0-dev" c glib "$(package glib-2.0 glib-2.0)"
built absl "absl::Mutex: install libabsl-dev" cplusplus absl "$(package absl_synchronization absl_synchronization)"
build_tbb() { "$cxx" -std=c++20 $flags -I"$here" -o "$build/bench_tbb" "$here/bench_tbb.cc" $(package tbb tbb); }
built tbb "oneTBB: install libtbb-dev (wants C++20)" build_tbb
build_coroutine() { "$cxx" -std=c++20 $flags -I"$here" -o "$build/bench_coroutine" "$here/bench_coroutine.cc"; }
built coroutine "C++20 coroutines: the C++ compiler has none" build_coroutine
built fork "fork: does not build, see $log" c fork ""
build_mpi() { mpicc -std=c99 $flags -I"$here" -o "$build/bench_mpi" "$here/bench_mpi.c"; }
built mpi "Open MPI: install openmpi-bin libopenmpi-dev" build_mpi
built moodycamel "moodycamel: install libconcurrentqueue-dev" cplusplus moodycamel ""

built duff "Duff's device: does not build, see $log" c duff ""
build_coroutines20() { "$cxx" -std=c++20 $flags -I"$here" -o "$build/bench_coro20" "$here/bench_coro20.cc"; }
built coro20 "coroutines of C++20: the compiler has none" build_coroutines20
built ev "libev: install libev-dev" c ev -lev
built uv "libuv: install libuv1-dev" c uv "$(package libuv uv)"
echo_server raw "" || skip "echo over epoll: does not build, see $log"
echo_server ev -lev || skip "libev: install libev-dev"
echo_server uv "$(package libuv uv)" || skip "libuv: install libuv1-dev"

build_go() {
    GO111MODULE=off GOFLAGS= GOPROXY=off GOCACHE=$build/go-cache go build -o "$build/bench_go" "$here/bench.go"
}
if have go; then built go "Go: does not build, see $log" build_go; else skip "Go: install golang-go"; fi

build_java() { mkdir -p "$build/java" && javac -d "$build/java" "$here/Bench.java" && : >"$build/bench_java"; }
if have javac; then
    built java "Java: does not build (wants 17 or later), see $log" build_java
else
    skip "Java: install default-jdk"
fi

built echo "echo: Linux only, see $log" c echo ""

# the one that has gevent, if there are two
python=${PYTHON:-python3}
if ! "$python" -c 'import gevent' >/dev/null 2>&1; then
    if [ -z "${PYTHON:-}" ] && /usr/bin/python3 -c 'import gevent' >/dev/null 2>&1; then python=/usr/bin/python3
    else skip "gevent: install python3-gevent"; fi
fi
if have "$python"; then programs="$programs python"; else skip "Python: install python3"; fi

# Rust: the crates are those that Debian installs as sources, which want Debian's compiler; no network.
crates=/usr/share/cargo/registry
rust_bin=${RUST_BIN:-/usr/bin}
build_rust() {
    mkdir -p "$build/rust/.cargo" || return 1
    features= dependencies=
    for crate in parking_lot crossbeam-channel rayon; do
        if ls -d "$crates/$crate"-[0-9]* >/dev/null 2>&1; then
            dependencies="$dependencies$crate = { version = \"*\", optional = true }
"
            features="$features $crate"
        fi
    done
    cat >"$build/rust/Cargo.toml" <<END
[package]
name = "bench"
version = "0.0.0"
edition = "2021"
[[bin]]
name = "bench"
path = "$here/bench.rs"
[dependencies]
$dependencies
[profile.release]
opt-level = 3
END
    cat >"$build/rust/.cargo/config.toml" <<END
[source.crates-io]
replace-with = "debian"
[source.debian]
directory = "$crates"
END
    (cd "$build/rust" && RUSTC=$rust_bin/rustc CARGO_TARGET_DIR=$build/rust/target \
        "$rust_bin/cargo" build --release --offline --features "$features") &&
        cp "$build/rust/target/release/bench" "$build/bench_rust"
}
if [ -x "$rust_bin/rustc" ] && [ -x "$rust_bin/cargo" ]; then
    built rust "Rust: does not build, see $log" build_rust
    for crate in parking-lot crossbeam-channel rayon; do
        dpkg-query -W "librust-$crate-dev" >/dev/null 2>&1 || skip "Rust $crate: install librust-$crate-dev"
    done
else
    skip "Rust: install rustc cargo librust-parking-lot-dev librust-crossbeam-channel-dev librust-rayon-dev"
fi

# ---- run it -------------------------------------------------------------------------------------------------

# program NAME argument ...: runs it
program() {
    name=$1
    shift
    case $name in
    java) set -- java -cp "$build/java" Bench "$@" ;;
    python) set -- "$python" "$here/bench.py" "$@" ;;
    *) set -- "$build/bench_$name" "$@" ;;
    esac
    "$@"
}
# measure PROGRAM GROUP CASE IMPLEMENTATION: its line, through the runner
measure() {
    name=$1
    shift
    case $name in
    java) set -- java -cp "$build/java" Bench run "$@" ;;
    python) set -- "$python" "$here/bench.py" run "$@" ;;
    *) set -- "$build/bench_$name" run "$@" ;;
    esac
    [ -z "$pin" ] || set -- taskset -c "$pin" "$@"
    "$build/runner" 60 "$@" </dev/null
}

tab=$(printf '\t')
for name in $programs; do
    program "$name" list | sed "s/^/$name$tab/"
done >"$build/all"
# group by group, case by case: peers in order, conc.h apart
for group in $groups; do
    awk -F '\t' -v group="$group" -v peers="$peers" -v only="$only" '
        $2 == group && $3 ~ only && ($4 ~ /^conc/ || $4 ~ peers) {
            if (!($3 in known)) { known[$3] = 1; name[++n] = $3 }
            if ($4 ~ /^conc/) conc[$3] = conc[$3] "conc\t" $0 "\n"; else peer[$3] = peer[$3] "peer\t" $0 "\n"
        }
        END { for (i = 1; i <= n; i++) printf "%s%s", peer[name[i]], conc[name[i]] }' "$build/all"
done >"$build/list"
if [ -n "$list_only" ]; then
    cut -f 3- "$build/list"
    sort -u "$build/skipped"
    exit 0
fi

BENCH_WORK=${BENCH_WORK:-$("$build/bench_pthread" work)}
BENCH_CC=$cc BENCH_CONC=$conc BENCH_DIR=$build
began=$(date +%s)
BENCH_UNTIL=${BENCH_UNTIL:-$((began + budget * 2 / 5))}
export BENCH_WORK BENCH_CC BENCH_CONC BENCH_DIR BENCH_UNTIL

results=$build/results.tsv
: >"$results"
failed=0 pair=0 round=0
time_is_up() { [ "$round" -gt 1 ] && [ $(($(date +%s) - began)) -ge "$budget" ]; }
while [ "$round" -lt "$rounds" ]; do
    round=$((round + 1))
    for group in $groups; do
        # sizes do not vary, and their compile times are the best of five already
        [ "$group" != size ] || [ "$round" -eq 1 ] || continue
        time_is_up && break
        echo "round $round of $rounds: $group" >&2
        cut -f 3,4 "$build/list" | awk -F '\t' -v g="$group" '$1 == g && !seen[$2]++ { print $2 }' >"$build/cases"
        while IFS= read -r name; do
            time_is_up && break
            # nor does the memory that something takes
            case $name in memory*) [ "$round" -eq 1 ] || continue ;; esac
            # after each peer (or once, if there is none) every kind of conc.h
            awk -F '\t' -v g="$group" -v c="$name" '$3 == g && $4 == c' "$build/list" >"$build/one"
            awk -F '\t' '$1 == "conc"' "$build/one" >"$build/ours"
            awk -F '\t' '$1 == "peer"' "$build/one" >"$build/theirs"
            [ -s "$build/theirs" ] || printf 'none\n' >"$build/theirs"
            while IFS=$tab read -r kind prog g c impl; do
                pair=$((pair + 1))
                if [ "$kind" = peer ]; then
                    line=$(measure "$prog" "$g" "$c" "$impl") && printf '%s\t%s\n' "$pair" "$line" >>"$results" ||
                        failed=$((failed + 1))
                fi
                while IFS=$tab read -r kind prog g c impl; do
                    line=$(measure "$prog" "$g" "$c" "$impl") && printf '%s\t%s\n' "$pair" "$line" >>"$results" ||
                        failed=$((failed + 1))
                done <"$build/ours"
            done <"$build/theirs"
        done <"$build/cases"
    done
done

# ---- report -------------------------------------------------------------------------------------------------

{
    echo "conc.h beside its peers: medians of up to $rounds rounds on $(nproc 2>/dev/null || echo '?') processors," \
        "$(date +%Y-%m-%d), $("$cc" --version | head -n 1)"
    echo "conc/this: how many times as fast conc.h is, in the median of pairs measured one after the other: rates"
    echo "conc/peer, times peer/conc; above 1 conc.h is ahead. fairness: least share of a thread by the largest."
    echo "cpu: processors kept busy. switches: context switches a turn; switches/100: in 100 items or turns."
    echo "others: processors that somebody else kept busy meanwhile. Measurements with more than 0.2 are left out where"
    echo "there are quieter ones; ~ marks what there was only in noise."
    echo "100 ns of work outside: $BENCH_WORK turns of bench_work() in bench.h."
    sort -u "$build/skipped"
    awk -v plots="$build" -f "$here/report.awk" "$results"
} | tee "$build/report.txt"

if have gnuplot; then
    for group in $groups; do
        if [ -f "$build/$group.gp" ] && gnuplot "$build/$group.gp" 2>>"$log"; then
            echo "drawn: $build/$group.svg"
        fi
    done
else
    echo "skipped: the drawings: install gnuplot"
fi
[ "$failed" -eq 0 ] || echo "$failed measurements failed" >&2
[ "$failed" -eq 0 ]
