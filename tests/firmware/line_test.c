/* line_test.c: lines that no Notecard should send.
 *
 * Copyright (c) 2026 the notepay authors
 * SPDX-License-Identifier: MIT
 */
#include "tests.h"

/* wire is a port that sends back what the test has prepared. */
typedef struct {
	notepay np;
	notepay_port port;
	notepay_machine machine;
	uint8_t storage[32 * NOTEPAY_SLOT];
	char *reply;
	size_t n;
	size_t claimed; /* the length that the port returns, if it is not n */
	void (*prepare)(void *wire, const char *request);
	uint32_t random, ms;
	int calls, started;
} wire;

static uint32_t draw(wire *w)
{
	w->random = w->random * 1664525u + 1013904223u;
	return w->random >> 8;
}

static size_t transact(void *context, char *line, size_t length, size_t size)
{
	wire *w = context;
	(void)length;
	w->calls++;
	w->ms += 10;
	w->claimed = 0;
	if (w->prepare)
		w->prepare(w, line);
	memcpy(line, w->reply, w->n < size ? w->n : size);
	notepay_tick(&w->np);
	return w->claimed ? w->claimed : w->n;
}

static bool load(void *context, uint16_t at, void *to, uint8_t n)
{
	memcpy(to, ((wire *)context)->storage + at, n);
	return true;
}

static bool save(void *context, uint16_t at, const void *from, uint8_t n)
{
	memcpy(((wire *)context)->storage + at, from, n);
	return true;
}

static uint32_t millis(void *context)
{
	return ((wire *)context)->ms;
}

static const char *start(void *context, const notepay_credit *credit, uint32_t seconds)
{
	wire *w = context;
	w->started++;
	check(memchr(credit->id, 0, sizeof credit->id) && memchr(credit->code, 0, sizeof credit->code) &&
	          seconds <= NOTEPAY_MAX_RUN_S,
	      "start got nonsense");
	return w->started % 7 ? NULL : "E-ODD";
}

static void stop(void *context)
{
	(void)context;
}

static wire *new_wire(size_t room)
{
	wire *w = calloc(1, sizeof *w);
	w->reply = calloc(1, room);
	w->port.transact = transact;
	w->port.load = load;
	w->port.save = save;
	w->port.millis = millis;
	w->port.context = w;
	w->port.slots = 32;
	w->machine.start = start;
	w->machine.stop = stop;
	w->machine.context = w;
	notepay_begin(&w->np, &w->port, &w->machine);
	return w;
}

static void free_wire(wire *w)
{
	free(w->reply);
	free(w);
}

/* A long line: of one character, or a valid note with padding. */
static void test_64_kb(void)
{
	const char fill[] = {'{', '[', '"', '\\', 'x', ' ', 0, '}', (char)0xff};
	for (size_t i = 0; i < sizeof fill; i++) {
		wire *w = new_wire(70000);
		memset(w->reply, fill[i], 70000);
		w->n = 65536;
		for (int poll = 0; poll < 20; poll++)
			notepay_poll(&w->np);
		w->n = NOTEPAY_LINE;
		notepay_poll(&w->np);
		w->n = NOTEPAY_LINE - 1;
		notepay_poll(&w->np);
		check(w->started == 0, "started on a line of %02x", (unsigned)fill[i]);
		free_wire(w);
	}
}

static void nest(wire *w, int depth, char open, char close)
{
	char *p = w->reply;
	p += sprintf(p, "{\"body\":{\"x\":");
	memset(p, open, (size_t)depth);
	p += depth;
	memset(p, close, (size_t)depth);
	p += depth;
	p += sprintf(p, ",\"payment_status\":\"completed\",\"credit_id\":\"cr_a\"}}");
	w->n = (size_t)(p - w->reply);
}

/* The depth costs no memory. Deeper than fits into the line, the note is removed. */
static void test_nesting(void)
{
	const int depths[] = {100, 1000, 20000};
	for (size_t i = 0; i < 3; i++) {
		wire *w = new_wire(70000);
		nest(w, depths[i], '[', ']');
		notepay_poll(&w->np);
		check(w->started == (w->n < NOTEPAY_LINE), "depth %d: started %d times", depths[i], w->started);
		free_wire(w);
	}
	for (size_t i = 0; i < 3; i++) { /* that do not close */
		wire *w = new_wire(70000);
		nest(w, depths[i], '[', '[');
		for (int poll = 0; poll < 5; poll++)
			notepay_poll(&w->np);
		check(w->started == 0, "depth %d: started", depths[i]);
		free_wire(w);
	}
}

static const char *const lines[] = {
	"{\"body\":{\"payment_status\":\"completed\",\"timestamp\":1640995200,\"session_id\":\"cs_test_a1\","
	"\"credit_id\":\"cr_7k3m9q2xh4abcdef\",\"expires\":1790000600,\"duration_s\":3600,\"delayed_start_s\":300,"
	"\"code\":\"493817\",\"pulses\":3,\"output\":1},\"time\":1640995210}",
	"{\"body\":{\"payment_status\":\"completed\",\"credit_id\":\"cr_abcdefghijklmnop\"}}",
	"{\"body\":{\"payment_status\":\"refunded\",\"credit_id\":\"cr_7k3m9q2xh4abcdef\"}}",
	"{\"time\":1790000000,\"zone\":\"CET,Europe/Berlin\"}",
	"{\"total\":1}",
	"{\"err\":\"no notes available in queue {note-noexist}\"}",
	"{\"err\":\"cannot {io}\"}",
	"{}",
};

static uint32_t crc(const char *s, size_t n)
{
	uint32_t c = ~0u;
	while (n-- > 0)
		for (int bit = (int)(c ^= (uint8_t)*s++, 0); bit < 8; bit++)
			c = c & 1 ? 0xedb88320u ^ c >> 1 : c >> 1;
	return ~c;
}

static void mutate(void *context, const char *request)
{
	static const char odd[] = "\"{}[]:,\\0129-.eE \t\n";
	wire *w = context;
	const char *base = lines[draw(w) % (sizeof lines / sizeof lines[0])];
	size_t n = strlen(base);
	char sequence[5] = "";
	memcpy(w->reply, base, n);
	if (draw(w) % 3) {
		for (uint32_t times = draw(w) % 6; times > 0; times--) {
			size_t at = draw(w) % n, many = 1 + draw(w) % 20;
			switch (draw(w) % 5) {
			case 0:
				w->reply[at] ^= (char)(1 << draw(w) % 8);
				break;
			case 1:
				w->reply[at] = odd[draw(w) % (sizeof odd - 1)];
				break;
			case 2: /* leave out */
				many = many < n - at ? many : n - at;
				memmove(w->reply + at, w->reply + at + many, n - at - many);
				n -= many;
				break;
			case 3: /* twice */
				many = many < n - at ? many : n - at;
				memmove(w->reply + at + many, w->reply + at, n - at);
				n += many;
				break;
			default:
				w->reply[at] = (char)draw(w);
			}
			if (n == 0)
				break;
		}
	}
	if (n > 1 && draw(w) % 2) { /* the sum is right, so that what is odd comes through */
		memcpy(sequence, strrchr(request, ',') + 8, 4);
		w->reply[n - 1] = '}';
		n += (size_t)sprintf(w->reply + n - 1, ",\"crc\":\"%s:%08lX\"}", sequence,
		                     (unsigned long)crc(w->reply, n)) - 1;
	}
	if (draw(w) % 50 == 0)
		n = draw(w) % (n + 1);
	if (draw(w) % 200 == 0)
		w->claimed = 65535;
	w->n = n;
}

static void test_fuzz(void)
{
	long n = amount("FIRMWARE_FUZZ", 200000), done = 0;
	wire *w = new_wire(70000);
	w->prepare = mutate;
	w->random = (uint32_t)amount("FIRMWARE_SEED", 1);
	while (done < n && failures < 20) {
		int before = w->calls;
		notepay_poll(&w->np);
		check(w->calls - before <= 100, "%d lines in one poll", w->calls - before);
		done += w->calls - before + 1;
		w->ms += draw(w) % 100000;
		notepay_tick(&w->np);
		if (draw(w) % 10 == 0)
			w->storage[draw(w) % sizeof w->storage] ^= (uint8_t)(1 << draw(w) % 8);
		if (draw(w) % 30 == 0)
			notepay_end(&w->np, draw(w) % 2 ? NULL : "E-END");
		if (draw(w) % 20 == 0)
			notepay_begin(&w->np, &w->port, &w->machine);
		w->machine.unsure = (uint8_t)(draw(w) % 3);
	}
	check(w->started > 0 || n < 1000, "nothing ever started");
	free_wire(w);
}

const test line_tests[] = {
	{"line, 64 kB and no NUL", test_64_kb},
	{"line, nesting", test_nesting},
	{"line, mutated", test_fuzz},
	{NULL, NULL},
};
