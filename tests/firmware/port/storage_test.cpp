/* storage_test.cpp: the storage of an ESP32, and of boards with a chip on I2C.
 *
 * Copyright (c) 2026 the notepay authors
 * SPDX-License-Identifier: MIT
 */
#include <Arduino.h>
#include <stdio.h>

#include "NotepayStorage.h"

void delay(uint32_t) {}

#ifdef NOTEPAY_I2C_STORAGE
TwoWire Wire;
#endif

static int failures;

static void check(bool ok, const char *what)
{
	if (!ok) {
		failures++;
		printf("FAIL: %s\n", what);
	}
}

int main()
{
	static uint8_t model[64 * NOTEPAY_SLOT], read[NOTEPAY_SLOT];
	uint32_t random = 1;
	memset(model, 0xff, sizeof model);
#ifdef NOTEPAY_I2C_STORAGE
	memset(Wire.memory, 0xff, sizeof Wire.memory);
#endif
	check(npSlots == 64, "there are not 64 slots");
	for (int i = 0; i < 20000; i++) {
		uint8_t bytes[NOTEPAY_SLOT], n, offset;
		uint16_t slot;
		random = random * 1664525u + 1013904223u;
		slot = static_cast<uint16_t>(random >> 8 & 63);
		n = random >> 20 & 1 ? NOTEPAY_SLOT : 1; /* a record or a mark */
		offset = n == 1 ? static_cast<uint8_t>(random >> 24 & 31) : 0;
		memset(bytes, static_cast<int>(random >> 16), sizeof bytes);
		check(npSave(NULL, static_cast<uint16_t>(slot * NOTEPAY_SLOT + offset), bytes, n), "save failed");
		memcpy(model + slot * NOTEPAY_SLOT + offset, bytes, n);
		slot = static_cast<uint16_t>(random >> 14 & 63);
		check(npLoad(NULL, static_cast<uint16_t>(slot * NOTEPAY_SLOT), read, NOTEPAY_SLOT), "load failed");
		check(memcmp(read, model + slot * NOTEPAY_SLOT, NOTEPAY_SLOT) == 0, "load brings something else");
	}
#ifdef NOTEPAY_I2C_STORAGE
	Wire.gone = true;
	check(!npLoad(NULL, 0, read, NOTEPAY_SLOT) && !npSave(NULL, 0, read, 1), "a chip that is gone goes unnoticed");
#endif
	printf("%s: storage\n", failures ? "FAIL" : "ok");
	return failures ? 1 : 0;
}
