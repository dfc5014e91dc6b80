/* NotepayStorage.h: where the records are kept on this board.
 *
 * Copyright (c) 2026 the notepay authors
 * SPDX-License-Identifier: MIT
 *
 * AVR boards use their EEPROM from NOTEPAY_EEPROM_AT on, ESP32 its NVS. Any board uses an FRAM or
 * EEPROM on I2C with two address bytes if NOTEPAY_I2C_STORAGE is defined as its address (0x50).
 * A sketch that defines NOTEPAY_OWN_STORAGE supplies npLoad, npSave and npSlots itself.
 */
#ifndef NOTEPAY_STORAGE_H
#define NOTEPAY_STORAGE_H

#include "notepay.h"

#ifndef NOTEPAY_EEPROM_AT
#define NOTEPAY_EEPROM_AT 0
#endif

#if defined(NOTEPAY_OWN_STORAGE)

/* The sketch has it. */

#elif defined(NOTEPAY_I2C_STORAGE)

#include <Wire.h>

static const uint8_t npSlots = 64;

static bool npLoad(void *, uint16_t at, void *to, uint8_t n)
{
	uint8_t *bytes = static_cast<uint8_t *>(to);
	while (n > 0) {
		uint8_t chunk = n < 16 ? n : 16;
		Wire.beginTransmission(NOTEPAY_I2C_STORAGE);
		Wire.write(static_cast<uint8_t>((NOTEPAY_EEPROM_AT + at) >> 8));
		Wire.write(static_cast<uint8_t>(NOTEPAY_EEPROM_AT + at));
		if (Wire.endTransmission() != 0 || Wire.requestFrom(static_cast<uint8_t>(NOTEPAY_I2C_STORAGE), chunk) != chunk)
			return false;
		at = static_cast<uint16_t>(at + chunk);
		n = static_cast<uint8_t>(n - chunk);
		while (chunk-- > 0)
			*bytes++ = static_cast<uint8_t>(Wire.read());
	}
	return true;
}

/* npSave writes byte by byte, because a page that is cut off may lose any of its bytes. It waits
 * until the chip answers again, so that each byte is durable before the next. */
static bool npSave(void *, uint16_t at, const void *from, uint8_t n)
{
	const uint8_t *bytes = static_cast<const uint8_t *>(from);
	for (; n > 0; n--, at++) {
		uint8_t tries = 20;
		Wire.beginTransmission(NOTEPAY_I2C_STORAGE);
		Wire.write(static_cast<uint8_t>((NOTEPAY_EEPROM_AT + at) >> 8));
		Wire.write(static_cast<uint8_t>(NOTEPAY_EEPROM_AT + at));
		Wire.write(*bytes++);
		if (Wire.endTransmission() != 0)
			return false;
		do {
			if (tries-- == 0)
				return false;
			delay(1);
			Wire.beginTransmission(NOTEPAY_I2C_STORAGE);
		} while (Wire.endTransmission() != 0);
	}
	return true;
}

#elif defined(__AVR__)

#include <avr/eeprom.h>

static const uint8_t npSlots = (E2END + 1 - NOTEPAY_EEPROM_AT) / NOTEPAY_SLOT < 254
                                   ? (E2END + 1 - NOTEPAY_EEPROM_AT) / NOTEPAY_SLOT
                                   : 254;

static bool npLoad(void *, uint16_t at, void *to, uint8_t n)
{
	eeprom_read_block(to, reinterpret_cast<const void *>(NOTEPAY_EEPROM_AT + at), n);
	return true;
}

static bool npSave(void *, uint16_t at, const void *from, uint8_t n)
{
	eeprom_update_block(from, reinterpret_cast<void *>(NOTEPAY_EEPROM_AT + at), n);
	eeprom_busy_wait();
	return true;
}

#elif defined(ARDUINO_ARCH_ESP32)

#include <Preferences.h>

#include <stdio.h>
#include <string.h>

static const uint8_t npSlots = 64;

/* npPreferences opens the records, each of which is one value of NVS: the old or the new. */
static Preferences &npPreferences()
{
	static Preferences preferences;
	static bool open = preferences.begin("notepay", false);
	(void)open;
	return preferences;
}

static bool npLoad(void *, uint16_t at, void *to, uint8_t n)
{
	uint8_t slot[NOTEPAY_SLOT];
	char key[8];
	snprintf(key, sizeof key, "r%u", at / NOTEPAY_SLOT);
	if (npPreferences().getBytes(key, slot, sizeof slot) != sizeof slot)
		memset(slot, 0xff, sizeof slot);
	memcpy(to, slot + at % NOTEPAY_SLOT, n);
	return true;
}

static bool npSave(void *, uint16_t at, const void *from, uint8_t n)
{
	uint8_t slot[NOTEPAY_SLOT];
	char key[8];
	npLoad(NULL, static_cast<uint16_t>(at - at % NOTEPAY_SLOT), slot, sizeof slot);
	memcpy(slot + at % NOTEPAY_SLOT, from, n);
	snprintf(key, sizeof key, "r%u", at / NOTEPAY_SLOT);
	return npPreferences().putBytes(key, slot, sizeof slot) == sizeof slot;
}

#else
/* A power cut during the commit would lose all credits. */
#error "notepay: the EEPROM of this board is emulated and erases a sector on commit. Add an FRAM on I2C."
#error "notepay: then define NOTEPAY_I2C_STORAGE as its address, such as 0x50."
#endif

#endif
