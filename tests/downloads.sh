# shellcheck shell=sh
# What fault_table.sh, kill_fetch.sh and watch_fetch.sh share: sourced by them. Builds httpd and fetch, starts the server.
#
# From the environment: CC, CFLAGS.
set -u
LC_ALL=C
export LC_ALL
unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY all_proxy ALL_PROXY

root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/conc-downloads.XXXXXX") || exit 1
server=
finish() {
    [ -n "$server" ] && kill "$server" 2>/dev/null
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 1' HUP INT TERM

build() { # NAME SOURCE LIBRARY...
    name=$1
    source=$2
    shift 2
    # shellcheck disable=SC2086
    ${CC:-cc} -std=c99 -O2 ${CFLAGS:-} -I"$root" -o "$work/$name" "$root/$source" -pthread "$@" || exit 1
}

links() { # HEADER LIBRARY
    printf '#include <%s>\nint main(void) { return 0; }\n' "$1" >"$work/try.c"
    # shellcheck disable=SC2086
    ${CC:-cc} ${CFLAGS:-} -o "$work/try" "$work/try.c" "$2" >/dev/null 2>&1
}

build_all() {
    links curl/curl.h -lcurl || { echo "skipped: no libcurl"; exit 77; }
    links openssl/evp.h -lcrypto || { echo "skipped: no libcrypto"; exit 77; }
    build httpd examples/httpd.c
    build fetch examples/fetch.c -DCONC_WITH_OPENSSL -lcurl -lcrypto
}

serve() { # ARGUMENTS OF HTTPD: sets url, without a slash at the end
    mkdir -p "$work/root"
    "$work/httpd" "$@" "$work/root" >"$work/httpd.out" 2>"$work/httpd.err" &
    server=$!
    # shellcheck disable=SC2034
    for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        grep -q '^listening' "$work/httpd.out" 2>/dev/null && break
        sleep 0.1
    done
    url=$(sed -n 's/^listening on \(.*\)\/$/\1/p' "$work/httpd.out")
    [ -n "$url" ] || { cat "$work/httpd.err"; echo "httpd does not listen"; exit 1; }
}

served() { # bytes of bodies so far
    "$work/fetch" -q -o "$work/stats" "$url/stats" && sed -n 's/^bytes //p' "$work/stats"
}
