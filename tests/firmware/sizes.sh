#!/usr/bin/env bash
# sizes.sh measures the core for three processors and fails if a figure of firmware/README.md is exceeded.
#
# Copyright (c) 2026 the notepay authors
# SPDX-License-Identifier: MIT
set -euo pipefail
cd "$(dirname "$0")"
src=../../firmware/notepay/src
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
bad=0

# at_most NAME VALUE LIMIT prints a figure and remembers whether it is too large.
at_most() {
	echo "  $1: $2 (at most $3)"
	if [ "$2" -gt "$3" ]; then
		echo "  FAIL: $1 is too large"
		bad=1
	fi
}

# text FILE SIZE prints the bytes of code and constants.
text() { "$2" "$1" | awk 'NR == 2 { print $1 + $2 }'; }

echo 'char np[sizeof(notepay)];' >"$out/ram.c"
for cpu in cortex-m0plus cortex-m4; do
	arm() {
		arm-none-eabi-gcc -mthumb -mcpu=$cpu -Os -std=c99 -Wall -Wextra -Wconversion -Werror -ffreestanding -nostdinc \
			-isystem "$(arm-none-eabi-gcc -print-file-name=include)" -isystem freestanding -fcallgraph-info=su "$@"
	}
	arm -c $src/notepay.c -o "$out/$cpu.o"
	arm -DNOTEPAY_SIGN -c $src/notepay.c -o "$out/$cpu-core.o"
	arm -DNOTEPAY_SIGN -c $src/notepay_sign.c -o "$out/$cpu-sign.o"
	core=$(text "$out/$cpu.o" arm-none-eabi-size)
	at_most "core on $cpu, bytes" "$core" 4352
	at_most "signature on $cpu, bytes more" \
		$(($(text "$out/$cpu-core.o" arm-none-eabi-size) + $(text "$out/$cpu-sign.o" arm-none-eabi-size) - core)) 1100
	at_most "stack with signature on $cpu, bytes" "$(node stack.js "$out/$cpu-core.ci" "$out/$cpu-sign.ci")" 512
	at_most "stack on $cpu, bytes" "$(node stack.js "$out/$cpu.ci")" 512
	arm-none-eabi-gcc -mthumb -mcpu=$cpu -std=c99 -ffreestanding -include $src/notepay.h -c "$out/ram.c" -o "$out/ram.o"
	at_most "RAM on $cpu, bytes" "$(arm-none-eabi-size "$out/ram.o" | awk 'NR == 2 { print $3 }')" 640
done
avr-gcc -mmcu=atmega328p -Os -std=c99 -Wall -Wextra -Werror -c $src/notepay.c -o "$out/avr.o"
avr-gcc -mmcu=atmega328p -Os -std=c99 -Wall -Wextra -Werror -DNOTEPAY_SIGN -c $src/notepay_sign.c -o "$out/avr-sign.o"
at_most "core on AVR, bytes" "$(text "$out/avr.o" avr-size)" 7168
avr-gcc -mmcu=atmega328p -std=c99 -fno-common -include $src/notepay.h -c "$out/ram.c" -o "$out/ram.o"
at_most "RAM on AVR, bytes" "$(avr-size "$out/ram.o" | awk 'NR == 2 { print $3 }')" 640
exit $bad
