/* world.c: see world.h.
 *
 * Copyright (c) 2026 the notepay authors
 * SPDX-License-Identifier: MIT
 */
#include "world.h"

#include <stdarg.h>

int failures;

void check_at(const char *file, int line, bool condition, const char *format, ...)
{
	va_list args;
	if (condition)
		return;
	if (failures++ > 20)
		return;
	printf("%s:%d: ", file, line);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
}

uint32_t next_random(world *w)
{
	w->random = w->random * 1664525u + 1013904223u;
	return w->random >> 8;
}

uint32_t unix_now(const world *w)
{
	return w->epoch + (uint32_t)(w->ms / 1000);
}

/* crc32 is written in another way than the library's: by a table of 16. */
static uint32_t crc32(const char *s, size_t n)
{
	uint32_t table[16], crc = ~0u;
	for (uint32_t i = 0; i < 16; i++) {
		table[i] = i;
		for (int bit = 0; bit < 4; bit++)
			table[i] = table[i] & 1 ? 0xedb88320u ^ table[i] >> 1 : table[i] >> 1;
	}
	while (n-- > 0) {
		uint8_t byte = (uint8_t)*s++;
		crc = table[(crc ^ byte) & 15] ^ crc >> 4;
		crc = table[(crc ^ byte >> 4) & 15] ^ crc >> 4;
	}
	return ~crc;
}

/* event counts what happens, and cuts the power at the one that was asked for. */
static bool event(world *w)
{
	w->events++;
	return w->cut_in > 0 && --w->cut_in == 0;
}

static void dark(world *w)
{
	if (w->on)
		w->on_ms += w->ms - w->on_at;
	w->on = false;
	longjmp(w->dark, 1);
}

static void maybe_dark(world *w)
{
	if (event(w))
		dark(w);
}

static uint32_t millis(void *context)
{
	const world *w = context;
	return w->millis_at + (uint32_t)(w->ms - w->boot);
}

/* wait lets time pass as the port does while the Notecard thinks: with ticks. */
static void wait(world *w, uint64_t ms)
{
	for (; ms > 50; ms -= 50) {
		w->ms += 50;
		notepay_tick(&w->np);
	}
	w->ms += ms;
	notepay_tick(&w->np);
}

static const char *member(const char *line, const char *key, char *to, size_t size)
{
	char quoted[40];
	const char *p;
	size_t n = 0;
	snprintf(quoted, sizeof quoted, "\"%s\":\"", key);
	p = strstr(line, quoted);
	if (p)
		for (p += strlen(quoted); *p && *p != '"' && n + 1 < size; p++)
			to[n++] = *p;
	to[n] = 0;
	return to;
}

/* notecard handles a request and writes its reply. */
static void notecard(world *w, const char *line, char *reply, size_t size)
{
	if (strstr(line, "\"req\":\"note.get\",\"file\":\"payment.qi\"")) {
		if (w->queued == 0) {
			snprintf(reply, size, "{\"err\":\"no notes available in queue {note-noexist}\"}");
			return;
		}
		if (strstr(line, "\"delete\":true") && w->on_pop)
			w->on_pop(w);
		snprintf(reply, size, "%s", w->queue[0]);
		if (strstr(line, "\"delete\":true")) {
			w->queued--;
			w->popped++;
			memmove(w->queue[0], w->queue[1], (size_t)w->queued * sizeof w->queue[0]);
		}
	} else if (strstr(line, "\"req\":\"note.add\",\"file\":\"payment_ack.qo\",\"sync\":true,\"body\":{")) {
		answer *a = &w->answers[w->answered % MAX_ANSWERS];
		if (w->full) {
			snprintf(reply, size, "{\"err\":\"no room {io}\"}");
			return;
		}
		member(line, "credit_id", a->id, sizeof a->id);
		member(line, "state", a->state, sizeof a->state);
		member(line, "code", a->code, sizeof a->code);
		a->at = w->ms;
		w->answered++;
		snprintf(reply, size, "{\"total\":1}");
	} else if (strstr(line, "\"req\":\"card.time\"")) {
		if (w->clock_unknown || w->ms < w->clock_from)
			snprintf(reply, size, "{\"zone\":\"UTC,Unknown\"}");
		else
			snprintf(reply, size, "{\"time\":%lu,\"area\":\"Essen\",\"zone\":\"CET,Europe/Berlin\"}",
			         (unsigned long)((int64_t)unix_now(w) + w->clock_error));
	} else if (strstr(line, "\"req\":\"hub.set\"") || strstr(line, "\"req\":\"card.attn\"")) {
		snprintf(reply, size, "{}");
	} else {
		check(false, "the Notecard does not know this request: %s", line);
		snprintf(reply, size, "{\"err\":\"unknown request\"}");
	}
}

/* verify checks the crc field of a request and returns its sequence number. */
static void verify(const char *line, size_t length, char sequence[5])
{
	char copy[800], expected[40];
	check(length < sizeof copy && strlen(line) == length && line[length - 1] == '\n',
	      "the line does not end in a newline and a NUL");
	memcpy(copy, line, length + 1);
	copy[length - 24] = '}';
	memcpy(sequence, line + length - 16, 4);
	sequence[4] = 0;
	snprintf(expected, sizeof expected, ",\"crc\":\"%s:%08lX\"}\n", sequence,
	         (unsigned long)crc32(copy, length - 23));
	check(strcmp(line + length - 24, expected) == 0, "crc field %s; want %s", line + length - 24, expected);
}

static size_t transact(void *context, char *line, size_t length, size_t size)
{
	world *w = context;
	char reply[800] = "", sequence[5];
	size_t n;
	bool pop;

	verify(line, length, sequence);
	maybe_dark(w); /* before the line */
	snprintf(w->last_request, sizeof w->last_request, "%s", line);
	if (w->on_request)
		w->on_request(w, line);
	pop = strstr(line, "\"delete\":true") != NULL;
	if (w->mute) {
		wait(w, 3000);
		return 0;
	}
	wait(w, (uint64_t)w->reply_ms);
	notecard(w, line, reply, sizeof reply);
	maybe_dark(w); /* after it was handled, before the reply was read */
	if (w->raw_times > 0) {
		snprintf(reply, sizeof reply, "%s", w->raw_reply);
		w->raw_times--;
	} else if (!w->no_sums) {
		n = strlen(reply);
		snprintf(reply + n - 1, sizeof reply - n, "%c\"crc\":\"%s:%08lX\"}\r\n", n > 2 ? ',' : ' ', sequence,
		         (unsigned long)crc32(reply, n));
	}
	if ((pop && w->lose_pops > 0) || (int)(next_random(w) % 100) < w->lose_per_cent) {
		w->lose_pops -= pop && w->lose_pops > 0;
		wait(w, 3000);
		return 0;
	}
	n = strlen(reply);
	if (n > 0 && (int)(next_random(w) % 100) < w->garble_per_cent) {
		for (uint32_t i = next_random(w) % 3 + 1; i > 0; i--)
			reply[next_random(w) % n] = (char)next_random(w);
		if (next_random(w) % 4 == 0)
			n = next_random(w) % n;
	}
	memcpy(line, reply, n < size ? n : size);
	return n;
}

static bool load(void *context, uint16_t at, void *to, uint8_t n)
{
	world *w = context;
	if (w->broken_storage)
		return false;
	check((size_t)at + n <= (size_t)w->port.slots * NOTEPAY_SLOT, "load beyond the storage at %u", at);
	memcpy(to, w->storage + at, n);
	return true;
}

static bool save(void *context, uint16_t at, const void *from, uint8_t n)
{
	world *w = context;
	const uint8_t *bytes = from;
	if (w->broken_storage)
		return false;
	check((size_t)at + n <= (size_t)w->port.slots * NOTEPAY_SLOT, "save beyond the storage at %u", at);
	for (uint8_t i = 0; i < n; i++) {
		w->ms += 3;
		if (event(w)) { /* while the byte is written */
			uint8_t *byte = &w->storage[at + i];
			*byte = w->torn == 0 ? *byte : w->torn == 1 ? 0xff : (uint8_t)next_random(w);
			dark(w);
		}
		w->saved++;
		if (!w->read_only)
			w->storage[at + i] = bytes[i];
	}
	maybe_dark(w);
	return true;
}

static const char *refuse(void *context, const notepay_credit *credit)
{
	world *w = context;
	(void)credit;
	return w->refusal;
}

static void stop(void *context)
{
	world *w = context;
	if (w->on)
		w->on_ms += w->ms - w->on_at;
	w->on = false;
	w->stops++;
}

static const char *start(void *context, const notepay_credit *credit, uint32_t seconds)
{
	world *w = context;
	start_call *s = &w->starts[w->started % MAX_STARTS];
	maybe_dark(w); /* before the act */
	w->started++;
	snprintf(s->id, sizeof s->id, "%s", credit->id);
	snprintf(s->code, sizeof s->code, "%s", credit->code);
	s->seconds = seconds;
	s->pulses = credit->pulses;
	s->output = credit->output;
	s->at = w->ms;
	check(!w->on, "%s: started while the output is on", credit->id);
	if (seconds > 0) {
		w->on = true;
		w->on_at = w->ms;
	} else {
		w->ms += w->pulse_ms;
	}
	maybe_dark(w); /* after the act */
	return w->failure;
}

world *new_world(uint32_t seed)
{
	world *w = calloc(1, sizeof *w);
	w->random = seed * 2654435761u + 1;
	w->epoch = 1790000000u;
	w->reply_ms = 100;
	w->pulse_ms = 200;
	w->millis_at = next_random(w);
	memset(w->storage, 0xff, sizeof w->storage);
	w->port.transact = transact;
	w->port.load = load;
	w->port.save = save;
	w->port.millis = millis;
	w->port.context = w;
	w->port.slots = 32;
	w->machine.refuse = refuse;
	w->machine.start = start;
	w->machine.stop = stop;
	w->machine.context = w;
	return w;
}

bool power_on(world *w)
{
	uint8_t *memory = (uint8_t *)&w->np;
	int stops = w->stops;
	bool ready;
	for (size_t i = 0; i < sizeof w->np; i++)
		memory[i] = (uint8_t)next_random(w);
	w->boot = w->ms;
	ready = notepay_begin(&w->np, &w->port, &w->machine);
	check(w->stops == stops + 1 && !w->on, "the outputs were not switched off at boot");
	return ready;
}

static bool quiet(const world *w)
{
	return w->queued == 0 && w->np.phase == 0;
}

bool settle_world(world *w, int polls, uint32_t dark_s)
{
	volatile int i = 0;
	volatile bool idle = false;
	if (setjmp(w->dark)) {
		w->cuts++;
		w->ms += (uint64_t)dark_s * 1000 + next_random(w) % 1000;
		if (w->late_s > 0)
			w->clock_from = w->ms + w->late_s * 1000;
		if (w->more_cuts > 0) {
			w->more_cuts--;
			w->cut_in = 1 + (long)(next_random(w) % 60);
		}
		power_on(w);
	}
	while (i < polls && !(idle && quiet(w))) {
		i++;
		idle = notepay_poll(&w->np) == NOTEPAY_IDLE;
		wait(w, 500);
	}
	return quiet(w);
}

void pass(world *w, uint64_t ms, uint32_t poll_s)
{
	uint64_t until = w->ms + ms, poll = w->ms + (uint64_t)poll_s * 1000;
	while (w->ms < until) {
		uint64_t step = until - w->ms < 50 ? until - w->ms : 50;
		w->ms += step;
		notepay_tick(&w->np);
		if (poll_s > 0 && w->ms >= poll) {
			notepay_poll(&w->np);
			poll = w->ms + (uint64_t)poll_s * 1000;
		}
	}
}

void note(world *w, const char *status, const char *id, const char *more)
{
	if (w->queued >= MAX_QUEUE)
		abort();
	snprintf(w->queue[w->queued++], sizeof w->queue[0],
	         "{\"body\":{\"payment_status\":\"%s\",\"timestamp\":1640995200,\"session_id\":"
	         "\"cs_test_a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8s9T0u1V2w3X4y5Z6\",\"credit_id\":\"%s\"%s},"
	         "\"time\":%lu}",
	         status, id, more, (unsigned long)unix_now(w));
}

const char *answers(world *w, const char *id)
{
	static char said[400];
	size_t n = 0;
	said[0] = 0;
	for (int i = 0; i < w->answered && n < sizeof said - 40; i++) {
		const answer *a = &w->answers[i % MAX_ANSWERS];
		if (strcmp(a->id, id) == 0)
			n += (size_t)snprintf(said + n, sizeof said - n, "%s%s%s%s", n ? " " : "", a->state, a->code[0] ? ":" : "",
			                      a->code);
	}
	return said;
}

int starts(const world *w, const char *id)
{
	int n = 0;
	for (int i = 0; i < w->started && i < MAX_STARTS; i++)
		n += strcmp(w->starts[i].id, id) == 0;
	return n;
}
