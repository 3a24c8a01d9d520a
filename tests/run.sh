#!/bin/sh
# Installs what the tests want and is missing (where it may), builds all, runs all, and ends with one line:
# N passed, N failed, N skipped. Exit code 0 if nothing failed.
#
#   sh tests/run.sh [--long] [ARGUMENTS OF CTEST]        for example -L gcc-tsan, or -R queue
#
#   --long                 the simulated tests with their full budgets, connections that come and go for a minute: an
#                          hour or two
#
#   CONC_TESTS_INSTALL=0   installs nothing
#   CONC_TESTS_BUILD=DIR   builds there and not in tests/build
#
# To install takes root, or sudo without a password, and apt-get, dnf, apk, pacman or brew. What is missing then is
# named, and the tests that want it are skipped.
set -u
LC_ALL=C
export LC_ALL

long=OFF
if [ "${1:-}" = --long ]; then
    long=ON
    shift
fi

tests=$(cd "$(dirname "$0")" && pwd)
build=${CONC_TESTS_BUILD:-$tests/build}
mkdir -p "$build" || exit 1
build=$(cd "$build" && pwd)

has() { command -v "$1" >/dev/null 2>&1; }

# ---- what is missing ----------------------------------------------------------------------------------------

probe=$build/probe.$$
mkdir -p "$probe"
printf 'int main(void) { return 0; }\n' >"$probe/p.c"
cleanup() {
    rm -rf "$probe"
    if [ -d "$build/wine" ] && has wineserver; then WINEPREFIX=$build/wine wineserver -k 2>/dev/null; fi
}
trap cleanup EXIT
trap 'exit 1' HUP INT TERM
builds() { "$@" "$probe/p.c" -o "$probe/p" >/dev/null 2>&1; }
has_header() { echo "#include <$1>" | cc -E - >/dev/null 2>&1; }

# Sets `wanted` to the packages, by the names of package manager $1, of what is not there.
find_missing() {
    wanted=
    case $1 in
    apt-get)
        has cmake || wanted="$wanted cmake"
        has make || has ninja || wanted="$wanted make"
        has gcc || wanted="$wanted gcc libc6-dev"
        has g++ || wanted="$wanted g++"
        has clang || wanted="$wanted clang"
        has nm || wanted="$wanted binutils"
        has tcc || wanted="$wanted tcc"
        has musl-gcc || wanted="$wanted musl-tools"
        has qemu-aarch64-static || has qemu-aarch64 || wanted="$wanted qemu-user-static"
        has aarch64-linux-gnu-gcc || wanted="$wanted gcc-aarch64-linux-gnu libc6-dev-arm64-cross"
        has x86_64-w64-mingw32-g++ || wanted="$wanted gcc-mingw-w64-x86-64-win32 g++-mingw-w64-x86-64-win32"
        has wine || wanted="$wanted wine wine64"
        has gcovr || wanted="$wanted gcovr"
        has_header curl/curl.h || wanted="$wanted libcurl4-openssl-dev"
        has_header openssl/evp.h || wanted="$wanted libssl-dev"
        # These belong to a version of a compiler. (Not gcc-multilib: it removes the cross compilers.)
        if has gcc && ! builds gcc -m32; then wanted="$wanted gcc-$(gcc -dumpversion | sed 's/\..*//')-multilib"; fi
        if has clang && ! builds clang -fsanitize=address,undefined; then
            wanted="$wanted libclang-rt-$(clang -dumpversion | sed 's/\..*//')-dev"
        fi
        ;;
    dnf)
        has cmake || wanted="$wanted cmake"
        has make || has ninja || wanted="$wanted make"
        has gcc || wanted="$wanted gcc glibc-devel"
        has g++ || wanted="$wanted gcc-c++"
        has clang || wanted="$wanted clang compiler-rt"
        builds gcc -fsanitize=address || wanted="$wanted libasan libubsan"
        builds gcc -fsanitize=thread || wanted="$wanted libtsan"
        builds gcc -m32 || wanted="$wanted glibc-devel.i686 libgcc.i686"
        has tcc || wanted="$wanted tcc"
        has musl-gcc || wanted="$wanted musl-gcc musl-libc-static"
        has qemu-aarch64-static || wanted="$wanted qemu-user-static-aarch64"
        has x86_64-w64-mingw32-gcc || wanted="$wanted mingw64-gcc mingw64-gcc-c++"
        has wine || wanted="$wanted wine-core"
        has gcovr || wanted="$wanted gcovr"
        has_header curl/curl.h || wanted="$wanted libcurl-devel"
        has_header openssl/evp.h || wanted="$wanted openssl-devel"
        ;;
    apk)
        has cmake || wanted="$wanted cmake"
        has make || has ninja || wanted="$wanted make"
        has gcc || wanted="$wanted gcc musl-dev"
        has g++ || wanted="$wanted g++"
        has clang || wanted="$wanted clang compiler-rt"
        has tcc || wanted="$wanted tcc"
        has qemu-aarch64 || wanted="$wanted qemu-aarch64"
        has x86_64-w64-mingw32-gcc || wanted="$wanted mingw-w64-gcc"
        has wine || wanted="$wanted wine"
        has_header curl/curl.h || wanted="$wanted curl-dev"
        has_header openssl/evp.h || wanted="$wanted openssl-dev"
        ;;
    pacman)
        has cmake || wanted="$wanted cmake"
        has make || has ninja || wanted="$wanted make"
        has gcc || wanted="$wanted gcc"
        has clang || wanted="$wanted clang compiler-rt"
        has tcc || wanted="$wanted tcc"
        has musl-gcc || wanted="$wanted musl"
        has qemu-aarch64-static || has qemu-aarch64 || wanted="$wanted qemu-user"
        has aarch64-linux-gnu-gcc || wanted="$wanted aarch64-linux-gnu-gcc"
        has x86_64-w64-mingw32-gcc || wanted="$wanted mingw-w64-gcc"
        has wine || wanted="$wanted wine"
        has_header curl/curl.h || wanted="$wanted curl"
        has_header openssl/evp.h || wanted="$wanted openssl"
        ;;
    brew)
        has cmake || wanted="$wanted cmake"
        has gcc || wanted="$wanted gcc"
        has x86_64-w64-mingw32-gcc || wanted="$wanted mingw-w64"
        has gcovr || wanted="$wanted gcovr"
        ;;
    esac
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

install_with() { # MANAGER PACKAGE...
    manager=$1
    shift
    case $manager in
    apt-get)
        as_root env DEBIAN_FRONTEND=noninteractive apt-get -y -q -o Acquire::Retries=2 -o Acquire::http::Timeout=30 \
            -o DPkg::Lock::Timeout=120 install --no-install-recommends "$@"
        ;;
    dnf) as_root dnf -y -q --setopt=install_weak_deps=False install "$@" ;;
    apk) as_root apk add -q "$@" ;;
    pacman) as_root pacman -S --noconfirm --needed "$@" ;;
    brew) brew install "$@" ;;
    esac </dev/null >>"$build/install.log" 2>&1
}

manager=
for m in apt-get dnf apk pacman brew; do
    if has $m; then
        manager=$m
        break
    fi
done
find_missing "$manager"
if [ -n "$wanted" ]; then
    may=1
    [ "${CONC_TESTS_INSTALL:-1}" = 0 ] && may=0
    [ -n "$manager" ] || may=0
    if [ "$manager" != brew ] && [ "$(id -u)" != 0 ]; then sudo -n true 2>/dev/null || may=0; fi
    if [ $may = 1 ]; then
        echo "installing:$wanted"
        : >"$build/install.log"
        if [ "$manager" = apt-get ]; then
            as_root apt-get -q -o Acquire::Retries=2 -o Acquire::http::Timeout=30 update </dev/null \
                >>"$build/install.log" 2>&1
        fi
        # Twice: which package has a compiler's libraries is known once the compiler is there.
        for round in 1 2; do
            [ -n "$wanted" ] || break
            # shellcheck disable=SC2086
            # All at once or, if one of them is unknown here, one by one.
            install_with "$manager" $wanted || for p in $wanted; do
                install_with "$manager" "$p" || echo "cannot install $p (see $build/install.log)"
            done
            before=$wanted
            find_missing "$manager"
            [ "$wanted" != "$before" ] || break
        done
    fi
    [ -z "$wanted" ] || echo "still missing, and what wants it is skipped (install it with ${manager:-your package manager}):$wanted"
fi

# ---- build and run -------------------------------------------------------------------------------------------

if ! has cmake || ! has ctest; then
    echo "cmake is missing: install it (3.20 or later)"
    echo "0 passed, 1 failed, 0 skipped"
    exit 1
fi
# One more than there are processors: much of what is run waits, for its threads or for a time.
jobs=$(($(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2) + 1))

generator=
if [ ! -f "$build/CMakeCache.txt" ]; then
    if has ninja; then generator=Ninja; else generator='Unix Makefiles'; fi
fi
echo "configuring in $build"
if ! cmake -S "$tests" -B "$build" -DCONC_LONG=$long ${generator:+-G "$generator"} >"$build/configure.log" 2>&1; then
    cat "$build/configure.log"
    echo "0 passed, 1 failed, 0 skipped"
    exit 1
fi
grep 'skipped:' "$build/configure.log"

# All that can be built is built; a program that cannot is a test that fails, and why is shown here.
if grep -q 'CMAKE_GENERATOR:INTERNAL=Ninja' "$build/CMakeCache.txt"; then go_on='-k 0'; else go_on=-k; fi
echo "building with $jobs jobs"
# shellcheck disable=SC2086
if ! cmake --build "$build" -j "$jobs" -- $go_on >"$build/build.log" 2>&1; then
    grep -v -E '^\[|^make|^Scanning|Built target' "$build/build.log" | sed -n '1,200p'
    echo "the build failed in part (all of it: $build/build.log)"
fi
if grep -q 'warning:' "$build/build.log"; then
    echo "warnings of the build (all of it: $build/build.log):"
    grep 'warning:' "$build/build.log" | sort | uniq -c | sed -n '1,40p'
fi

(cd "$build" && ctest -j "$jobs" --output-on-failure --no-tests=error "$@") </dev/null >"$build/test.log" 2>&1
status=$?

# What is worth reading: failures with what they printed. The rest is counted.
awk '/^ *[0-9]+\/[0-9]+ Test +#[0-9]+: / { show = !/ Passed / && !/\*\*\*Skipped/ }
     /^The following tests/ || /^Total Test time/ || /^[0-9]+% tests passed/ || /^Label Time/ { show = 0 }
     /^(CMake|CTest) Error/ || /^No tests were found/ || /^Total Test time/ { print }
     show && !/^ +Start +[0-9]+: /' "$build/test.log"
echo
awk '/^ *[0-9]+\/[0-9]+ Test +#[0-9]+: / {
         name = $0
         sub(/^[^:]*: */, "", name)
         sub(/ .*/, "", name)
         sub(/\/.*/, "", name)
         if (!(name in seen)) { seen[name] = 1; order[++n] = name }
         if (/ Passed /) passed[name]++
         else if (/\*\*\*Skipped/) skipped[name]++
         else failed[name]++
     }
     END { for (i = 1; i <= n; i++) {
         name = order[i]
         printf "%-20s %4d passed %4d failed %4d skipped\n", name, passed[name], failed[name], skipped[name]
     } }' "$build/test.log" | sort
passed=$(grep -c -E '^ *[0-9]+/[0-9]+ Test +#[0-9]+: .* Passed ' "$build/test.log")
skipped=$(grep -c -E '^ *[0-9]+/[0-9]+ Test +#[0-9]+: .*\*\*\*Skipped' "$build/test.log")
all=$(grep -c -E '^ *[0-9]+/[0-9]+ Test +#[0-9]+: ' "$build/test.log")
planned=$(sed -n 's|^ *[0-9]*/\([0-9]*\) Test *#[0-9]*: .*|\1|p' "$build/test.log" | sed -n 1p)
if [ "${planned:-0}" -gt "$all" ]; then
    echo "ctest was ended after $all of $planned tests; those it did not come to count as failed"
    all=$planned
fi
failed=$((all - passed - skipped))
[ $status = 0 ] || [ $failed -gt 0 ] || failed=1 # ctest itself was not content
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
