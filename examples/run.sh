#!/bin/sh
# sh examples/run.sh [DIRECTORY]
#
# Builds and runs every example, shows what each one prints, and checks it: most of them say in the comment at
# their top what they print, and are held to that. wordcount counts the words of DIRECTORY (default: this
# repository), and its complete result is compared with that of tr, sort and uniq.
#
# From the environment: CC (the compiler), CFLAGS (more flags). Needs a C compiler; installs one if there is
# none and it may. Everything it makes is in examples/build.

set -u
LC_ALL=C
export LC_ALL
unset CDPATH

examples=$(cd -- "$(dirname -- "$0")" && pwd) || exit 1
root=$(dirname -- "$examples")
build=$examples/build
tree=$(cd -- "${1:-$root}" && pwd) || exit 1
passed=0
failed=0
ran=
not_ran=

# ---- a compiler ----------------------------------------------------------------------------------

compiler() { # sets CC to one that works, or fails
    if [ -n "${CC:-}" ]; then set -- "$CC"; else set -- cc gcc clang; fi
    for c; do
        command -v "${c%% *}" >/dev/null 2>&1 || continue
        echo '#include <pthread.h>
              #include <stdio.h>
              int main(void) { puts(""); return pthread_self() == 0; }' >"$build/try.c"
        # shellcheck disable=SC2086
        $c -o "$build/try" "$build/try.c" -pthread >"$build/try.log" 2>&1 && CC=$c && return 0
    done
    return 1
}

# install WHAT BREW APT DNF APK PACMAN: the packages, by the names that each package manager has for them
install() {
    if [ "$(id -u)" = 0 ]; then as_root=
    elif sudo -n true >/dev/null 2>&1; then as_root='sudo -n'
    else as_root=no
    fi
    # shellcheck disable=SC2086
    if command -v brew >/dev/null 2>&1; then # wants no root
        brew install $2
    elif [ "$as_root" = no ]; then
        echo "run.sh: no $1, and no right to install it" >&2
        return 1
    elif command -v apt-get >/dev/null 2>&1; then
        $as_root apt-get update && $as_root apt-get install -y --no-install-recommends $3
    elif command -v dnf >/dev/null 2>&1; then
        $as_root dnf install -y $4
    elif command -v apk >/dev/null 2>&1; then
        $as_root apk add $5
    elif command -v pacman >/dev/null 2>&1; then
        $as_root pacman -Sy --noconfirm $6
    else
        echo "run.sh: no $1, and no known package manager" >&2
        return 1
    fi
}

install_compiler() {
    if [ -n "${CC:-}" ]; then
        echo "run.sh: '$CC' does not compile a program that uses pthread" >&2
        return 1
    fi
    install "C compiler" gcc "gcc libc6-dev" gcc "gcc musl-dev" gcc || return
    command -v brew >/dev/null 2>&1 && CC=$(command -v gcc-14 || command -v gcc-13 || command -v gcc)
    return 0
}

# links HEADER LIBRARY: does a program with both compile?
links() {
    printf '#include <%s>\nint main(void) { return 0; }\n' "$1" >"$build/try.c"
    # shellcheck disable=SC2086
    $CC ${CFLAGS:-} -o "$build/try" "$build/try.c" "$2" >"$build/try.log" 2>&1
}

# ---- running and checking ------------------------------------------------------------------------

# No example takes long; one that hangs is stopped, where the system has timeout(1).
limited() {
    if command -v timeout >/dev/null 2>&1; then timeout 120 "$@"; else "$@"; fi
}

# check NAME EXPECTED ACTUAL EXIT-CODE: compares two files
check() {
    if [ "$4" -ne 0 ]; then
        echo "   FAILED: $1 ended with $4"
    elif cmp -s "$2" "$3"; then
        echo "   ok"
        passed=$((passed + 1))
        return
    else
        echo "   FAILED: $1: what differs (<: expected, >: printed):"
        diff "$2" "$3" | sed 's/^/   /;20q'
    fi
    failed=$((failed + 1))
}

# build NAME [LIBRARY...]
build() {
    name=$1
    shift
    rm -f "$build/$name"
    # shellcheck disable=SC2086
    $CC -std=c99 -Wall -Wextra -O1 ${CFLAGS:-} -I"$root" -o "$build/$name" "$examples/$name.c" -pthread "$@" >"$build/$name.log" 2>&1
}

# Builds all that want no library, one a processor at a time: each is one file with all of conc.h, and takes seconds.
build_all() {
    jobs=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
    job=0
    while [ $job -lt "$jobs" ]; do
        i=0
        for source in $(grep -L 'define CONC_WITH_CURL' "$examples"/*.c); do
            i=$((i + 1))
            [ $((i % jobs)) -eq $job ] && build "$(basename "$source" .c)"
        done &
        job=$((job + 1))
    done
    wait
}

# compile NAME [LIBRARY...]: whether it could be compiled; counts as failed if there was as much as a warning
compile() {
    [ $# -eq 1 ] || build "$@"
    if [ -x "$build/$1" ] && [ ! -s "$build/$1.log" ]; then
        ran="$ran $1"
        return 0
    fi
    cat "$build/$1.log"
    rm -f "$build/$1"
    echo "   FAILED: $1 does not compile without warnings"
    failed=$((failed + 1))
    not_ran="$not_ran $name"
    return 1
}

# held NAME EXIT-CODE: checks that what is in NAME.out is what its comment says. Measured times are not compared.
held() {
    sed -n '/^ \* Prints/,/^ \*\//s/^ \*     //p' "$examples/$1.c" >"$build/$1.expected"
    sed -e 's/[0-9][0-9]*\.[0-9][0-9]* s$/... s/' -e 's/^[0-9][0-9]*\.[0-9][0-9]* times/... times/' \
        "$build/$1.out" >"$build/$1.actual"
    check "$1" "$build/$1.expected" "$build/$1.actual" "$2"
}

# example NAME: one that tells in its comment what it prints
example() {
    echo "== $1"
    compile "$1" || return
    limited "$build/$1" >"$build/$1.out"
    code=$?
    cat "$build/$1.out"
    held "$1" "$code"
}

# The one that simulates. What it prints on stderr names a schedule that failed: played again, it has to fail again.
bank() {
    example bank 2>"$build/bank.err"
    cat "$build/bank.err"
    schedule=$(sed -n 's/^  play it again with CONC_SIM=//p' "$build/bank.err" | sed 1q)
    echo "played again, with CONC_SIM=$schedule:"
    CONC_SIM=$schedule limited "$build/bank" 2>&1 >/dev/null | sed -n '/transfers: deadlock/,/in the end/p' >"$build/bank.again"
    sed -n '/transfers: deadlock/,/in the end/p' "$build/bank.err" | sed 's/after [0-9]* schedules/after 1 schedules/' \
        >"$build/bank.once"
    check bank "$build/bank.once" "$build/bank.again" 0
}

# Ten tasks end in any order, each in any of four threads.
pool() {
    echo "== pool"
    compile pool || return
    limited "$build/pool" >"$build/pool.ran"
    code=$?
    cat "$build/pool.ran"
    sed 's/^worker-[1-4]:/worker-N:/' "$build/pool.ran" >"$build/pool.named"
    { sed 10q "$build/pool.named" | sort -k 5n; sed 1,10d "$build/pool.named"; } >"$build/pool.out"
    held pool "$code"
}

# The picture: its checksum depends on the compiler, but is the same twice; and the file is as long as it has to be.
mandelbrot() {
    echo "== mandelbrot"
    compile mandelbrot || return
    limited "$build/mandelbrot" "$build/mandelbrot.png" >"$build/mandelbrot.ran"
    code=$?
    cat "$build/mandelbrot.ran"
    sed 's/checksum [0-9a-f]\{8\} /checksum ... /' "$build/mandelbrot.ran" >"$build/mandelbrot.out"
    held mandelbrot "$code"
    echo 310923 >"$build/mandelbrot.expected"
    wc -c <"$build/mandelbrot.png" | tr -d ' ' >"$build/mandelbrot.actual"
    check mandelbrot "$build/mandelbrot.expected" "$build/mandelbrot.actual" 0
}

# Numbers, and the lines of a file, compared with sort's.
sorting() {
    example parallel_sort
    [ -x "$build/parallel_sort" ] || return
    echo "the lines of conc.h, compared with sort:"
    sort "$root/conc.h" >"$build/lines.expected"
    limited "$build/parallel_sort" "$root/conc.h" >"$build/lines.actual"
    check parallel_sort "$build/lines.expected" "$build/lines.actual" $?
}

# The checksums of all files, compared with those of cksum. (In the order of the paths; none has a newline in it.)
checksums() {
    echo "== hash_tree"
    compile hash_tree || return
    (cd -- "$tree" && limited "$build/hash_tree" .) >"$build/crcs.actual"
    code=$?
    sed 5q "$build/crcs.actual"
    echo "all $(wc -l <"$build/crcs.actual" | tr -d ' ') files under $tree, compared with cksum:"
    (cd -- "$tree" && find . \( -name .git -o -name build \) -prune -o -type f -exec cksum {} +) |
        sort -k 3 >"$build/crcs.expected"
    check hash_tree "$build/crcs.expected" "$build/crcs.actual" $code
    echo "a directory that is not there:"
    limited "$build/hash_tree" "$build/missing" >"$build/crcs.actual" 2>&1
    echo $? >>"$build/crcs.actual"
    cat "$build/crcs.actual"
    printf 'hash_tree: cannot read %s: No such file or directory\n1\n' "$build/missing" >"$build/crcs.expected"
    check hash_tree "$build/crcs.expected" "$build/crcs.actual" 0
}

# Ten tasks in four processes, in any order; between what main prints.
process_pool() {
    echo "== process_pool"
    compile process_pool || return
    limited "$build/process_pool" >"$build/process_pool.ran"
    code=$?
    cat "$build/process_pool.ran"
    sed 's/ in process [0-9]*:/ in process N:/' "$build/process_pool.ran" >"$build/process_pool.named"
    {
        sed 1q "$build/process_pool.named"
        grep '^task' "$build/process_pool.named" | sort
        sed 1d "$build/process_pool.named" | grep -v '^task'
    } >"$build/process_pool.out"
    held process_pool "$code"
    echo "they were in $(sed -n 's/.* in process \([0-9]*\):.*/\1/p' "$build/process_pool.ran" | sort -u | wc -l | tr -d ' ') processes"
}

# Which process it was varies.
crash() {
    echo "== crash"
    compile crash || return
    limited "$build/crash" >"$build/crash.ran"
    code=$?
    cat "$build/crash.ran"
    sed 's/"crash-[1-4]"/"crash-N"/' "$build/crash.ran" >"$build/crash.out"
    held crash "$code"
}

# What becomes of the threads is shown, and not checked.
one_line() {
    echo "== one_line"
    compile one_line || return
    limited "$build/one_line" >"$build/one_line.ran"
    code=$?
    cat "$build/one_line.ran"
    sed 's/^\(threads: *\).*/\1.../' "$build/one_line.ran" >"$build/one_line.out"
    held one_line "$code"
}

# Pictures of its own, then one whose pixels are the bytes of conc.h, and some that are none: all as without processes.
pictures() {
    rm -rf "$build/pictures" && mkdir "$build/pictures" || return
    echo "== image_filter"
    compile image_filter || return
    (cd -- "$build/pictures" && limited "$build/image_filter") >"$build/image_filter.out"
    code=$?
    cat "$build/image_filter.out"
    held image_filter "$code"
    {
        printf 'P6 # the bytes of conc.h\n700\n500 255\n'
        dd if="$root/conc.h" bs=1050000 count=1 2>/dev/null
    } >"$build/pictures/conc.ppm"
    sed 1000q "$build/pictures/conc.ppm" >"$build/pictures/short.ppm"
    cp "$examples/run.sh" "$build/pictures/text.ppm"
    for n in 1 2 3 4 5 6 7 8 9 10; do
        cp "$build/pictures/image_filter-$((n % 3 + 1)).ppm" "$build/pictures/many $n.ppm"
    done
    (cd -- "$build/pictures" && limited "$build/image_filter" -s ./*.ppm missing.ppm) >"$build/pictures.expected" 2>&1
    echo $? >>"$build/pictures.expected"
    (cd -- "$build/pictures" && cksum ./*.blurred && rm ./*.blurred) >>"$build/pictures.expected"
    (cd -- "$build/pictures" && limited "$build/image_filter" ./*.ppm missing.ppm) >"$build/pictures.actual" 2>&1
    echo $? >>"$build/pictures.actual"
    (cd -- "$build/pictures" && cksum ./*.blurred) >>"$build/pictures.actual"
    echo "all pictures, and what is none, compared with what one process does in turn, in their cksum, too:"
    cat "$build/pictures.actual"
    sort "$build/pictures.expected" >"$build/pictures.sorted" && mv "$build/pictures.sorted" "$build/pictures.expected"
    sort "$build/pictures.actual" >"$build/pictures.sorted" && mv "$build/pictures.sorted" "$build/pictures.actual"
    check image_filter "$build/pictures.expected" "$build/pictures.actual" 0
}

# Two processes talk. Neither has to wait for the other to be up: lines are sent until they are answered.
# One has two threads, the other two coroutines.
chat() {
    echo "== udp_chat, chat_coroutines"
    compile udp_chat && compile chat_coroutines || return
    port=$((20000 + $$ % 20000))
    printf 'hello\nhow are you?\n' >"$build/chat1.in"
    printf 'hello yourself\nfine\nand you?\n' >"$build/chat2.in"
    for try in 1 2 3 4 5 6 7 8 9 10; do # a port may be in use: then the program ends with 2
        "$build/udp_chat" $port 127.0.0.1:$((port + 1)) \
            <"$build/chat1.in" >"$build/chat1.out" 2>"$build/chat1.err" &
        one=$!
        "$build/chat_coroutines" $((port + 1)) 127.0.0.1:$port \
            <"$build/chat2.in" >"$build/chat2.out" 2>"$build/chat2.err"
        code2=$?
        [ $code2 -eq 2 ] && kill $one 2>/dev/null
        wait $one
        code1=$?
        [ $code1 -ne 2 ] && [ $code2 -ne 2 ] && break
        port=$((port + 2 * try))
    done
    cat "$build/chat1.err" "$build/chat2.err"
    sed 's/^/> /' "$build/chat2.in" >"$build/chat1.expected"
    sed 's/^/> /' "$build/chat1.in" >"$build/chat2.expected"
    echo "the first receives:"
    cat "$build/chat1.out"
    check udp_chat "$build/chat1.expected" "$build/chat1.out" "$code1"
    echo "the second receives:"
    cat "$build/chat2.out"
    check chat_coroutines "$build/chat2.expected" "$build/chat2.out" "$code2"
}

# fetched PROGRAM CODE: it ended with CODE, and what it has put into its directory are the images, each with its checksum, and
# nothing else
fetched() {
    (cd -- "$build/got" && cksum ./*) >"$build/got.actual" 2>&1
    check "$1" "$build/got.expected" "$build/got.actual" "$2"
}

# Images made here, served from here: everything without the internet.
downloads() {
    if ! links curl/curl.h -lcurl; then
        install libcurl curl "libcurl4-openssl-dev libssl-dev" "libcurl-devel openssl-devel" "curl-dev openssl-dev" "curl openssl"
    fi
    if ! links curl/curl.h -lcurl; then
        echo "== skipped: download_threads, download_processes, download_coroutines, fetch: they want libcurl: please install it"
        not_ran="$not_ran download_threads download_processes download_coroutines fetch"
        return
    fi
    echo "== httpd"
    [ -x "$build/images" ] && compile httpd || return
    rm -rf "$build/pictures"
    limited "$build/images" "$build/pictures" >/dev/null
    (cd -- "$build/pictures" && cksum ./*) >"$build/got.expected"
    "$build/httpd" -f delay=50 "$build/pictures" >"$build/httpd.out" 2>&1 & # as if it were far away
    server=$!
    for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        grep -q '^listening' "$build/httpd.out" && break
        sleep 0.1 2>/dev/null || sleep 1
    done
    cat "$build/httpd.out"
    url=$(sed -n 's/^listening on //p' "$build/httpd.out")
    urls=$(cd -- "$build/pictures" && for f in *; do echo "$url$f"; done)

    for name in download_threads download_processes download_coroutines; do
        echo "== $name"
        compile $name -lcurl || continue
        rm -rf "$build/got" && mkdir "$build/got"
        # shellcheck disable=SC2086
        (cd -- "$build/got" && limited "$build/$name" $urls)
        fetched $name $?
    done

    echo "== fetch"
    sums=
    if links openssl/evp.h -lcrypto && command -v sha256sum >/dev/null 2>&1; then sums='-DCONC_WITH_OPENSSL -lcrypto'; fi
    # shellcheck disable=SC2086
    if compile fetch -lcurl $sums; then
        for f in "$build"/pictures/*; do
            echo "$url${f##*/} ${f##*/} ${sums:+sha256:$(sha256sum "$f" | sed 's/ .*//')}"
        done >"$build/list"
        rm -rf "$build/got"
        limited "$build/fetch" -j 4 -d "$build/got" -i "$build/list"
        fetched fetch $?
        echo "the same again, with -c, and one that there is not:"
        limited "$build/fetch" -q -c -d "$build/got" -i "$build/list" "${url}none.png"
        [ $? -eq 1 ]
        fetched fetch $?
    fi
    kill $server
    wait $server
    code=$?
    sed 1d "$build/httpd.out"
    echo "$url" | sed 's/^/listening on /' >"$build/httpd.expected"
    sed 1q "$build/httpd.out" >"$build/httpd.actual"
    check httpd "$build/httpd.expected" "$build/httpd.actual" $code
}

# images: in a directory of its own
images() {
    echo "== images"
    compile images || return
    limited "$build/images" "$build/pictures" >"$build/images.out"
    code=$?
    cat "$build/images.out"
    held images "$code"
}

# count_words DIRECTORY: "count word" for each word under it, with the system's own tools
count_words() {
    (cd -- "$1" && find . \( -name .git -o -name build \) -prune -o -type f -exec sh -c '
        for f do tr -cs A-Za-z "\n" <"$f"; echo; done' sh {} +) |
        tr A-Z a-z | grep . | sort | uniq -c | sed 's/^ *//'
}

# compare_words DIRECTORY: all words of it, from both
compare_words() {
    limited "$build/wordcount" -a -x build "$1" >"$build/words.out"
    code=$?
    count_words "$1" >"$build/words.expected"
    check wordcount "$build/words.expected" "$build/words.out" $code
}

# reported PATH: wordcount must name what it cannot read there, and end with 1
reported() {
    limited "$build/wordcount" "$1" >"$build/reported.out" 2>"$build/reported.err"
    echo $? >"$build/reported.actual"
    cat "$build/reported.err" "$build/reported.out"
    grep -cF "wordcount: cannot read $1" "$build/reported.err" >>"$build/reported.actual"
    printf '1\n1\n' >"$build/reported.expected"
    check wordcount "$build/reported.expected" "$build/reported.actual" 0
}

words() {
    echo "== wordcount"
    compile wordcount || return
    echo "the words of $tree, but for what is named .git or build:"
    limited "$build/wordcount" -x build "$tree"
    echo "all of them, compared with tr | sort | uniq -c:"
    compare_words "$tree"

    odd=$build/odd # what a tree may hold: no newline at the end, nothing at all, binary, any name, links
    rm -rf "$odd" && mkdir -p "$odd/a b/c
d" "$odd/.git" "$odd/empty"
    printf 'One two\nTHREE don'\''t' >"$odd/no newline"
    printf 'glued?' >"$odd/a b/another"
    printf 'zero\0byte\200high\377a@b[c`d{e' >"$odd/a b/c
d/-binary"
    printf 'not counted' >"$odd/.git/file"
    : >"$odd/empty/file"
    ln -s .. "$odd/empty/loop"
    ln -s missing "$odd/empty/dangling"
    echo "a small tree of odd files, compared likewise:"
    compare_words "$odd"

    echo "a directory that is not there:"
    reported "$build/missing"
    if chmod 000 "$odd/no newline" && [ ! -r "$odd/no newline" ]; then # root may read everything
        echo "a file that must not be read:"
        reported "$odd"
    fi
}

# ---- all of them ---------------------------------------------------------------------------------

if [ ! -f "$root/conc.h" ]; then
    echo "run.sh: $root/conc.h is not there: make it with ./amalgamate.sh" >&2
    exit 1
fi
mkdir -p "$build" && echo '*' >"$build/.gitignore" || exit 1
compiler || { install_compiler && compiler; } || {
    cat "$build/try.log" 2>/dev/null
    echo "0 passed, 1 failed (no C compiler)"
    exit 1
}
echo "compiler: $($CC --version 2>/dev/null | sed 1q)"
build_all

for name in threads join_order squares_queue producer_consumer sums lock local select cancel timer \
    iterator generator generator_send take_turns tree pipeline coroutines greenlets sieve feeding mirrors million echo \
    rejection parallel_sum fork_join process process_map; do
    example $name
done
pool
process_pool
crash
one_line
mandelbrot
sorting
checksums
pictures
bank
images
downloads
chat
words

echo "== ran:$ran"
[ -n "$not_ran" ] && echo "== did not run:$not_ran"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
