#!/usr/bin/env bash
# run.sh tests the firmware: run.sh host (the C tests), run.sh fuzz [LINES [SEED]], or all of it.
#
# Copyright (c) 2026 the notepay authors
# SPDX-License-Identifier: MIT
set -euo pipefail
cd "$(dirname "$0")"
src=../../firmware/notepay/src
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
strict=(-Wall -Wextra -Wconversion -Werror -I. -I$src)
tests=(main.c world.c ./*_test.c)

# checked builds the tests with sanitizers.
checked() {
	gcc -std=c99 "${strict[@]}" -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all "$@"
}

host() {
	# The core is C99 and C++.
	g++ -x c++ -std=c++11 "${strict[@]}" -c $src/notepay.c -o "$out/cpp.o"
	checked "${tests[@]}" $src/notepay.c -o "$out/checked" &
	gcc -std=c99 "${strict[@]}" -O2 "${tests[@]}" $src/notepay.c -o "$out/fast" &
	# A line of 64 kB that the core has to read.
	checked -DNOTEPAY_LINE=65535 "${tests[@]}" $src/notepay.c -o "$out/large"
	wait
	NOTEPAY_CUTS=0 NOTEPAY_HISTORIES=2000 NOTEPAY_FUZZ=100000 "$out/checked" &
	"$out/large" line,\ nesting line,\ 64
	NOTEPAY_FIGURES=1 "$out/fast" cut histories
	wait $!
}

fuzz() {
	checked "${tests[@]}" $src/notepay.c -o "$out/checked"
	NOTEPAY_FUZZ=${1:-3000000} NOTEPAY_SEED=${2:-$RANDOM} "$out/checked" line,\ mutated
}

case ${1:-all} in
host) host ;;
fuzz) fuzz "${@:2}" ;;
all)
	host
	node mutants.js
	./sizes.sh
	;;
esac
