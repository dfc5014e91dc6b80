/* notepay.h: one start for each paid credit, on the host of a Blues Notecard.
 *
 * Copyright (c) 2026 the notepay authors
 * SPDX-License-Identifier: MIT
 *
 * The library reads notes from payment.qi, decides, records, acts and answers in payment_ack.qo.
 * The caller supplies a port (one line to the Notecard and one back, storage, a clock) and a
 * machine (refuse, start, stop). There is no heap, no stdio and no floating point.
 */
#ifndef NOTEPAY_H
#define NOTEPAY_H

#include "notepay_config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* NOTEPAY_LINE is the size of the one line buffer. A note of the bridge needs about 400 bytes. */
#ifndef NOTEPAY_LINE
#define NOTEPAY_LINE 448
#endif

/* NOTEPAY_SLOT is the size of a record; storage holds at least NOTEPAY_MIN_SLOTS of them. */
#define NOTEPAY_SLOT 32
#define NOTEPAY_MIN_SLOTS 32

/* NOTEPAY_MAX_RUN_S is what a note may order at most, unless the machine sets max_run_s. */
#define NOTEPAY_MAX_RUN_S 14400UL

/* NOTEPAY_HUB is the hub.set request, for notepay_request. Without inbound and outbound, the mode
 * continuous behaves as minimum does. */
#define NOTEPAY_HUB(product)                                                                       \
	"{\"req\":\"hub.set\",\"product\":\"" product                                                  \
	"\",\"mode\":\"continuous\",\"sync\":true,\"inbound\":60,\"outbound\":15"

/* notepay_busy is returned by refuse while the machine serves somebody else. */
extern const char notepay_busy[];

/* notepay_credit is what a note orders. Texts end in NUL; what the note does not have is 0 or "". */
typedef struct {
	char id[20];              /* "cr_" and up to 16 characters */
	char code[8];             /* six digits that the customer types */
	uint32_t expires;         /* Unix seconds */
	uint32_t duration_s;      /* 0: not a timed credit */
	uint32_t delayed_start_s; /* before a timed credit begins */
	uint32_t pulses;          /* for coin machines */
	uint8_t output;           /* which relay, if there are several */
} notepay_credit;

/* notepay_port connects the library to a board. */
typedef struct {
	/* transact sends the line of length bytes, which ends in a newline and a NUL, and reads the
	 * reply into the same buffer of size bytes. It makes one attempt and never repeats a line.
	 * It returns the length of the reply: 0 for none within 3 s, more than size if it did not fit.
	 * While it waits it calls notepay_tick. */
	size_t (*transact)(void *context, char *line, size_t length, size_t size);
	/* load and save move n bytes of storage and report whether they could. save writes the bytes
	 * in ascending order, or all at once, and returns when they are durable. */
	bool (*load)(void *context, uint16_t at, void *to, uint8_t n);
	bool (*save)(void *context, uint16_t at, const void *from, uint8_t n);
	uint32_t (*millis)(void *context);
	void *context;
	uint8_t slots; /* of storage, each NOTEPAY_SLOT bytes: NOTEPAY_MIN_SLOTS to 254 */
} notepay_port;

/* notepay_unsure says how a credit is answered that may or may not have been acted on when the
 * power failed. */
enum {
	NOTEPAY_UNSURE_FAILED,  /* failed E-POWR: the customer never pays for nothing */
	NOTEPAY_UNSURE_STARTED, /* started: at most one start, the money is kept */
	NOTEPAY_UNSURE_AGAIN    /* start again: at least one start */
};

/* notepay_machine is what the sketch does. The functions are called from notepay_poll and
 * notepay_tick; stop is also called while a transaction waits, so it only switches outputs. */
typedef struct {
	/* refuse returns NULL, or why the machine cannot start: a code such as "E-DOOR", or
	 * notepay_busy. It has no effect. It may be NULL. */
	const char *(*refuse)(void *context, const notepay_credit *credit);
	/* start starts and returns NULL, or the code of what went wrong. A timed credit runs for
	 * seconds, which is less than duration_s after a power cut; for others seconds is 0. */
	const char *(*start)(void *context, const notepay_credit *credit, uint32_t seconds);
	/* stop switches the outputs off. */
	void (*stop)(void *context);
	uint32_t max_run_s; /* 0: NOTEPAY_MAX_RUN_S; at most 16,777,215 */
	uint8_t unsure;
	void *context;
#ifdef NOTEPAY_SIGN
	const uint8_t *key; /* 32 bytes: what notepay device-key prints for this Notecard */
#endif
} notepay_machine;

typedef enum {
	NOTEPAY_IDLE, /* the queue is empty */
	NOTEPAY_MORE, /* there may be more notes: call notepay_poll again soon */
	NOTEPAY_WAIT  /* the Notecard, the time or the storage is missing: call again in a few seconds */
} notepay_result;

/* notepay_record is one slot of storage. The sum comes last and covers what is before the marks, so
 * that a record whose writing was cut off is void. The marks are written later, in place, and each
 * counts only with the one value that belongs to its record's sum. */
typedef struct {
	uint32_t until;    /* when a timed credit ends; of an expired one: its expires */
	uint16_t duration; /* the lower 16 of 24 bits */
	uint8_t duration_high;
	uint8_t pin[3]; /* the customer's code, a digit in each 4 bits */
	uint8_t output;
	uint8_t kind;
	uint16_t sequence; /* the highest is the newest */
	uint8_t id[12];
	uint8_t marks[2];
	uint32_t sum;
} notepay_record;

/* notepay is the state of a machine. Its members are private. */
typedef struct {
	bool ready, sums, talking;
	uint8_t phase;
	uint8_t newest; /* the newest slot */
	uint8_t run;    /* the slot of current, the timed credit, unless phase is NONE */
	uint16_t length;   /* of the line */
	uint16_t sequence; /* of the line's crc field */
	uint16_t top;      /* the sequence number of the newest slot */
	const notepay_port *port;
	const notepay_machine *machine;
	const char *err;     /* of the reply in the line */
	uint32_t time;       /* the Notecard's, in seconds; 0 if it is not known */
	uint32_t age;        /* of time, in seconds */
	uint32_t left;       /* seconds until the phase ends */
	uint32_t ms;         /* when the current second began, by millis */
	uint32_t sum;        /* of the reply */
	uint32_t told;       /* the sum of the note that was answered and not yet removed */
	notepay_record current;
	notepay_credit credit;
	char line[NOTEPAY_LINE];
} notepay;

#ifdef NOTEPAY_SIGN
#define notepay_begin notepay_begin_signed /* a sketch and a library that differ do not link */
#endif

/* notepay_begin switches the outputs off and reads the records. It reports whether the
 * storage can be used; if it cannot, nothing is ever started. */
bool notepay_begin(notepay *np, const notepay_port *port, const notepay_machine *machine);

/* notepay_poll reads the queue, starts, answers. It takes a second, at most a few. */
notepay_result notepay_poll(notepay *np);

/* notepay_tick stops what has run its time, and starts what was delayed. Call it at least every
 * 100 ms, also while something waits. It counts by millis, whatever the Notecard's clock does. */
void notepay_tick(notepay *np);

/* notepay_end ends the timed credit early: with NULL it is answered done, with a code failed. */
void notepay_end(notepay *np, const char *code);

/* notepay_running returns how many seconds the timed credit has left, its delay included; 0 if
 * none runs. */
uint32_t notepay_running(const notepay *np);

/* notepay_request sends a JSON object of the sketch's own, which is given without its closing
 * brace, and reports whether the Notecard accepted it. The reply is in np->line until the next
 * call. */
bool notepay_request(notepay *np, const char *object);

#ifdef __cplusplus
}
#endif

#endif
