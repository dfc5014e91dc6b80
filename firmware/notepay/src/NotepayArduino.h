/* NotepayArduino.h: notepay beside Blues' library "Blues Wireless Notecard", on I2C or UART.
 *
 * Copyright (c) 2026 the notepay authors
 * SPDX-License-Identifier: MIT
 */
#ifndef NOTEPAY_ARDUINO_H
#define NOTEPAY_ARDUINO_H

#include <Notecard.h>

#include "NotepayLoop.h"

static void npDelay(uint32_t ms)
{
	for (uint32_t from = millis(); millis() - from < ms;) {
		npTick();
		delay(1);
	}
	npTick();
}

static uint32_t npNow(void)
{
	return millis();
}

/* npTransact makes one attempt: NoteTransaction and its relatives would repeat a pop. */
static size_t npTransact(void *, char *line, size_t, size_t size)
{
	char *reply = NoteRequestResponseJSON(line);
	size_t n = reply ? strlen(reply) : 0;
	if (n > 0)
		memcpy(line, reply, n < size ? n : size);
	NoteFree(reply);
	return n;
}

/* npBegin starts notepay on a Notecard that was begun. The Notecard library then waits in npDelay,
 * and for 3 s at most, so that a Notecard that is dead keeps no output on. attn is the pin that is
 * connected to ATTN, or NOTEPAY_NO_ATTN. */
static bool npBegin(Notecard &card, const char *hub, const notepay_machine *machine, uint8_t attn)
{
	static notepay_port port;
	port.transact = npTransact;
	port.load = npLoad;
	port.save = npSave;
	port.millis = npMillis;
	port.slots = npSlots;
	card.setFn(malloc, free, npDelay, npNow);
	NoteSetRequestTimeout(3);
	return npStart(&port, machine, hub, attn);
}

/* npBegin without a Notecard begins one on I2C. */
static inline bool npBegin(const char *hub, const notepay_machine *machine, uint8_t attn)
{
	static Notecard card;
	card.begin();
	return npBegin(card, hub, machine, attn);
}

#endif
