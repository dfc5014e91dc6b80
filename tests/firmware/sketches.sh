#!/usr/bin/env bash
# sketches.sh DIR [uno] compiles the examples against Debian's Arduino core into DIR: for an Uno with the
# UART port, and for a Mega with a Notecard.h of ours, or with the real library if NOTE_ARDUINO is its folder.
# It fails on a warning in our files, on an example of 60 lines, and if a figure of firmware/README.md is exceeded.
#
# Copyright (c) 2026 the notepay authors
# SPDX-License-Identifier: MIT
set -euo pipefail
cd "$(dirname "$0")"
out=${1:-$(mktemp -d)}
library=${LIBRARY:-../../firmware/notepay}
arduino=/usr/share/arduino/hardware/arduino/avr
bad=0

# compile BOARD MCU VARIANT compiles the core, and sets the flags for sketches.
compile() {
	flags=(-mmcu="$2" -DF_CPU=16000000L -DARDUINO=10819 -DARDUINO_AVR_"$1" -DARDUINO_ARCH_AVR -Os -ffunction-sections
		-fdata-sections -flto -fno-fat-lto-objects)
	cpp=(-std=gnu++11 -fno-exceptions -fno-threadsafe-statics)
	system=(-I$arduino/cores/arduino -I"$arduino/variants/$3" -I$arduino/libraries/Wire/src
		-I$arduino/libraries/SoftwareSerial/src)
	objects=$out/$1
	mkdir -p "$objects"
	if [ ! -e "$objects/core.a" ]; then
		for file in $arduino/cores/arduino/*.c; do
			avr-gcc "${flags[@]}" "${system[@]}" -w -c "$file" -o "$objects/$(basename "$file").o"
		done
		for file in $arduino/cores/arduino/*.cpp $arduino/libraries/Wire/src/*.cpp; do
			avr-g++ "${flags[@]}" "${cpp[@]}" "${system[@]}" -DDECIMAL_DIG=__DECIMAL_DIG__ -w -c "$file" \
				-o "$objects/$(basename "$file").o"
		done
		avr-gcc "${flags[@]}" "${system[@]}" -w -c $arduino/libraries/Wire/src/utility/twi.c \
			-o "$objects/twi.c.o"
		avr-gcc-ar rcs "$objects/core.a" "$objects"/*.o
	fi
	avr-gcc "${flags[@]}" -std=gnu11 -Wall -Wextra -Werror -I"$library/src" -c "$library/src/notepay.c" \
		-o "$objects/notepay.o"
}

# sketch NAME FLAGS... compiles an example.
sketch() {
	avr-g++ "${flags[@]}" "${cpp[@]}" "${system[@]}" -Wall -Wextra -Werror -I"$library/src" -include Arduino.h "${@:2}" \
		-x c++ -c "$library/examples/$1/$1.ino" -o "$objects/$1.o"
}

# link NAME FLAGS... links it into the folder programs.
link() {
	avr-gcc "${flags[@]}" -fuse-linker-plugin -Wl,--gc-sections "$objects/$1.o" "$objects/notepay.o" "${@:2}" \
		"$objects/core.a" -lm -o "$programs/$1.elf"
	avr-objcopy -O ihex -R .eeprom "$programs/$1.elf" "$programs/$1.hex"
	avr-size "$programs/$1.elf" | awk -v name="$1" 'NR == 2 { print "  " name ": flash " $1 + $2 " B, RAM " $2 + $3 " B" }'
}

at_most() {
	if [ "$2" -gt "$3" ]; then
		echo "  FAIL: $1 is $2; at most $3"
		bad=1
	fi
}

compile UNO atmega328p standard
programs=$out
for name in Washer Vending Locker Charger; do
	at_most "lines of $name" "$(wc -l <"$library/examples/$name/$name.ino")" 59
	sketch $name
	link $name
done
read -r flash ram < <(avr-size "$out/Washer.elf" | awk 'NR == 2 { print $1 + $2, $2 + $3 }')
at_most "flash of Washer on an Uno" "$flash" 12500
at_most "RAM of Washer on an Uno" "$ram" 1600

if [ "${2:-}" = uno ]; then
	exit $bad
fi
compile MEGA2560 atmega2560 mega
programs=$objects # those of the Uno stay
if [ -z "${NOTE_ARDUINO:-}" ]; then
	for name in Washer Vending Locker Charger; do
		sketch $name -Ishim
		sketch $name -Ishim -DNOTEPAY_I2C_STORAGE=0x50
	done
else
	for file in "$NOTE_ARDUINO"/src/*.cpp; do
		avr-g++ "${flags[@]}" "${cpp[@]}" "${system[@]}" -w -I"$NOTE_ARDUINO/src" -c "$file" \
			-o "$objects/note_$(basename "$file").o"
	done
	for file in "$NOTE_ARDUINO"/src/note-c/*.c; do
		avr-gcc "${flags[@]}" "${system[@]}" -w -I"$NOTE_ARDUINO/src" -c "$file" \
			-o "$objects/note_$(basename "$file").o"
	done
	for name in Washer Vending Locker Charger; do
		sketch $name -I"$NOTE_ARDUINO/src"
		link $name "$objects"/note_*.o
	done
fi
exit $bad
