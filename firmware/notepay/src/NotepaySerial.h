/* NotepaySerial.h: notepay on the Notecard's UART, without any other library. It fits an Uno.
 *
 * Copyright (c) 2026 the notepay authors
 * SPDX-License-Identifier: MIT
 */
#ifndef NOTEPAY_SERIAL_H
#define NOTEPAY_SERIAL_H

#include "NotepayLoop.h"

/* NOTEPAY_REPLY_MS is how long a reply may take to begin, and NOTEPAY_BYTE_MS how long it may pause. */
#define NOTEPAY_REPLY_MS 3000UL
#define NOTEPAY_BYTE_MS 1000UL

/* npPause waits with ticks. */
static inline void npPause(uint32_t ms)
{
	for (uint32_t from = millis(); millis() - from < ms;)
		npTick();
}

static size_t npTransact(void *context, char *line, size_t length, size_t size)
{
	static bool in_step;
	Stream &card = *static_cast<Stream *>(context);
	uint32_t from;
	size_t n = 0;

	if (!in_step) { /* an empty line ends what the Notecard may have of an earlier one */
		card.write('\n');
		npPause(250);
	}
	in_step = false;
	while (card.available() > 0)
		card.read();
	for (size_t i = 0; i < length; i++) {
		card.write(line[i]);
		npTick();
		if (i % 250 == 249)
			npPause(250); /* the Notecard takes no more at once */
	}
	for (from = millis(); millis() - from < (n ? NOTEPAY_BYTE_MS : NOTEPAY_REPLY_MS); npTick()) {
		int c = card.available() > 0 ? card.read() : -1;
		if (c < 0)
			continue;
		if (c == '\n' && n > 0) {
			in_step = true;
			return n;
		}
		if (n == 0 && c <= ' ')
			continue;
		from = millis();
		if (n < size)
			line[n] = static_cast<char>(c);
		n++;
	}
	return 0;
}

/* npBegin starts notepay on a port that was begun with 9600 baud, such as Serial. attn is the pin
 * that is connected to ATTN, or NOTEPAY_NO_ATTN. */
static bool npBegin(Stream &card, const char *hub, const notepay_machine *machine, uint8_t attn)
{
	static notepay_port port;
	port.transact = npTransact;
	port.load = npLoad;
	port.save = npSave;
	port.millis = npMillis;
	port.context = &card;
	port.slots = npSlots;
	return npStart(&port, machine, hub, attn);
}

/* npBegin without a port begins NOTEPAY_SERIAL, which is Serial unless the sketch defines it. */
#ifndef NOTEPAY_SERIAL
#define NOTEPAY_SERIAL Serial
#endif
static inline bool npBegin(const char *hub, const notepay_machine *machine, uint8_t attn)
{
	NOTEPAY_SERIAL.begin(9600);
	return npBegin(NOTEPAY_SERIAL, hub, machine, attn);
}

#endif
