#!/usr/bin/env bash
# run.sh tests the firmware: run.sh host (the C tests), run.sh whole (with the service), run.sh boards (the examples),
# run.sh fuzz [LINES [SEED]], or all but the last.
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
	gcc -std=c99 -c $src/notepay.c -o "$out/notepay.o"
	g++ -std=c++11 -Wall -Wextra -Werror -fsanitize=address,undefined -fno-sanitize-recover=all -Iport -Ishim -I$src \
		port/port_test.cpp "$out/notepay.o" -o "$out/port"
	for storage in -DARDUINO_ARCH_ESP32 -DNOTEPAY_I2C_STORAGE=0x50; do
		g++ -std=c++11 -Wall -Wextra -Werror -fsanitize=address,undefined -fno-sanitize-recover=all -Iport -I$src \
			$storage port/storage_test.cpp -o "$out/storage"
		"$out/storage"
	done
	# A board whose EEPROM is emulated is refused.
	if g++ -std=c++11 -Iport -I$src -DARDUINO_ARCH_RP2040 -fsyntax-only port/storage_test.cpp 2>"$out/refused" ||
		! grep -q 'emulated and erases a sector' "$out/refused"; then
		echo "FAIL: emulated EEPROM is not refused"
		return 1
	fi
	wait
	"$out/port"
	FIRMWARE_CUTS=0 FIRMWARE_HISTORIES=2000 FIRMWARE_FUZZ=100000 "$out/checked" &
	"$out/large" line,\ nesting line,\ 64
	FIRMWARE_FIGURES=1 "$out/fast" cut histories time,\ a\ start vectors
	wait $!
}

fuzz() {
	checked "${tests[@]}" $src/notepay.c -o "$out/checked"
	FIRMWARE_FUZZ=${1:-3000000} FIRMWARE_SEED=${2:-$RANDOM} "$out/checked" line,\ mutated
}

# boards compiles the examples and runs two of them in a simulated Uno. A port that does not tick
# while it waits must be caught there.
boards() {
	[ -d ../avr/node_modules ] || npm ci --prefix ../avr --ignore-scripts --no-audit --no-fund
	./sketches.sh "$out/boards"
	node ../avr/test.js "$out/boards"
	node ../avr/board_test.js "$out/boards"
	mkdir "$out/mutant"
	cp -r ../../firmware/notepay "$out/mutant/library"
	sed -i 's/_REPLY_MS); npTick())/_REPLY_MS); npWatchdog())/' "$out/mutant/library/src/NotepaySerial.h"
	if cmp -s "$out/mutant/library/src/NotepaySerial.h" $src/NotepaySerial.h; then
		echo "FAIL: the tick in the delay is written differently"
		return 1
	fi
	LIBRARY="$out/mutant/library" ./sketches.sh "$out/boards" uno >/dev/null
	if node ../avr/test.js "$out/boards" washer >/dev/null; then
		echo "FAIL: no test misses the tick in the delay"
		return 1
	fi
}

# whole runs the firmware as the machine of the whole service.
whole() {
	(cd ../machine && NOTEPAY_REQUIRE=1 NOTEPAY_FIRMWARE_PAYMENTS=${NOTEPAY_FIRMWARE_PAYMENTS:-40} go test -count=1 .)
}

case ${1:-all} in
host) host ;;
fuzz) fuzz "${@:2}" ;;
boards) boards ;;
whole) whole ;;
all)
	host
	whole
	sign/sign_test.sh
	node mutants.js
	./sizes.sh
	boards
	;;
esac
