/* NotepayKeypad.h: a keypad of 4 rows and 3 columns, without a library.
 *
 * Copyright (c) 2026 the notepay authors
 * SPDX-License-Identifier: MIT
 */
#ifndef NOTEPAY_KEYPAD_H
#define NOTEPAY_KEYPAD_H

#include <Arduino.h>

/* npKeypadBegin sets up the pins: columns with pull-ups, rows that are pulled LOW in turn. */
static inline void npKeypadBegin(const uint8_t *columns)
{
	for (uint8_t c = 0; c < 3; c++)
		pinMode(columns[c], INPUT_PULLUP);
}

/* npKey returns a key once when it is pressed, otherwise 0. It looks every 30 ms. */
static inline char npKey(const uint8_t *rows, const uint8_t *columns)
{
	static uint32_t looked;
	static char before;
	char key = 0, last = before;
	if (millis() - looked < 30)
		return 0;
	looked = millis();
	for (uint8_t r = 0; r < 4; r++) {
		digitalWrite(rows[r], LOW);
		pinMode(rows[r], OUTPUT);
		delayMicroseconds(20);
		for (uint8_t c = 0; c < 3; c++)
			if (digitalRead(columns[c]) == LOW)
				key = "123456789*0#"[3 * r + c];
		pinMode(rows[r], INPUT);
	}
	before = key;
	return last ? 0 : key;
}

#endif
