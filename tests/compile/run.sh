#!/bin/sh
# run.sh PROGRAM COMPILER ARGUMENT... : compiles PROGRAM and runs it; its exit code, or the compiler's.
program=$1
shift
"$@" -o "$program.exe" || exit
"./$program.exe"
