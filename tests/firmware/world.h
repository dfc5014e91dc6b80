/* world.h: a Notecard, storage, a machine and time for the tests of the firmware, all simulated.
 *
 * Copyright (c) 2026 the notepay authors
 * SPDX-License-Identifier: MIT
 */
#ifndef WORLD_H
#define WORLD_H

#include "notepay.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_QUEUE = 128, MAX_ANSWERS = 4096, MAX_STARTS = 1024, MAX_SLOTS = 64 };

typedef struct {
	char id[24], state[12], code[16];
	uint64_t at;
} answer;

typedef struct {
	char id[24], code[8];
	uint32_t seconds, pulses;
	uint8_t output;
	uint64_t at;
} start_call;

/* world is everything outside of the library that survives a power cut, and the library's state,
 * which does not. */
typedef struct {
	notepay np;
	notepay_port port;
	notepay_machine machine;

	uint64_t ms;         /* true time since the world began */
	uint32_t epoch;      /* Unix time at ms 0 */
	uint32_t millis_at;  /* what the host's millis says at boot */
	uint64_t boot;       /* ms of the last boot */
	int64_t clock_error; /* seconds by which the Notecard's clock is wrong */
	bool clock_unknown;
	uint64_t clock_from; /* the Notecard does not know the time before */
	uint32_t late_s;     /* after a power cut it needs so long to know it */

	char queue[MAX_QUEUE][800];
	int queued;
	int popped; /* how often a note was removed */
	answer answers[MAX_ANSWERS];
	int answered;
	char last_request[800];
	char raw_reply[800]; /* if raw_times is above 0, the next replies are this, as it is */
	int raw_times;

	bool no_sums, mute, full, broken_storage, read_only;
	int lose_per_cent, garble_per_cent; /* of the replies */
	int lose_pops;                      /* so many replies to pops are lost */
	int reply_ms;
	void (*on_request)(void *world, const char *line); /* before the Notecard handles it */
	void (*on_pop)(void *world);                       /* before the oldest note is removed */

	uint8_t storage[MAX_SLOTS * NOTEPAY_SLOT];
	uint64_t saved; /* bytes */
	long cut_in;    /* events until the power fails; 0: never */
	int more_cuts;  /* so many at random after it */
	int cuts;       /* so far */
	long events;    /* so far */
	int torn;       /* what a torn byte reads as: 0 old, 1 0xff, 2 random */
	jmp_buf dark;

	bool on; /* the output */
	uint64_t on_at, on_ms;
	start_call starts[MAX_STARTS];
	int started, stops;
	const char *refusal, *failure; /* what refuse and start return */
	uint32_t pulse_ms;             /* how long a start takes */
	uint32_t random;
} world;

extern int failures;

/* check reports a failure with its place. */
#define check(condition, ...) check_at(__FILE__, __LINE__, condition, __VA_ARGS__)
void check_at(const char *file, int line, bool condition, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* new_world returns a world in order whose machine is not on yet, with 32 slots. */
world *new_world(uint32_t seed);

/* power_on boots the host: its memory is garbage, its storage what was saved. */
bool power_on(world *w);

/* settle_world polls until the queue is empty, or so many times. A power cut makes it dark for
 * dark_s, and it goes on. It returns whether the queue is empty and nothing is owed. */
bool settle_world(world *w, int polls, uint32_t dark_s);

/* pass lets time pass with a tick every 50 ms and a poll every poll_s, if that is not 0. */
void pass(world *w, uint64_t ms, uint32_t poll_s);

uint32_t next_random(world *w);
uint32_t unix_now(const world *w);

/* note queues a note; more are further members, each with a comma before it. */
void note(world *w, const char *status, const char *id, const char *more);

/* answers returns what was answered for a credit, such as "started done"; codes follow a colon. */
const char *answers(world *w, const char *id);

/* starts returns how often a credit was started. */
int starts(const world *w, const char *id);

#endif
