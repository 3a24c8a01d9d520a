#!/bin/sh
# sh tests/wine.sh WINE PROGRAM [ARGUMENT...]: runs a program under wine. On a busy machine wine's own server now and then
# turns a client away before its program has begun: then, and only then, once more.
set -u
said=${TMPDIR:-/tmp}/wine.$$
trap 'rm -f "$said"' EXIT
trap 'exit 1' HUP INT TERM
for try in 1 2 3; do
    "$@" 2>"$said"
    code=$?
    cat "$said" >&2
    [ $code -ne 0 ] && [ "$(sed 's/^wine client error.*//;/^$/d' "$said")" = "" ] && grep -q '^wine client error' "$said" || break
done
exit $code
