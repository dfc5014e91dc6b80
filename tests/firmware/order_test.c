/* order_test.c: the order of record, act, mark, confirm and pop, and replies that are lost.
 *
 * Copyright (c) 2026 the notepay authors
 * SPDX-License-Identifier: MIT
 */
#include "tests.h"

static void expect(world *w, const char *id, int started, const char *answered)
{
	check(starts(w, id) == started, "%s: started %d times; want %d", id, starts(w, id), started);
	check(strcmp(answers(w, id), answered) == 0, "%s: answered \"%s\"; want \"%s\"", id, answers(w, id), answered);
}

static world *ready(void)
{
	world *w = new_world(2);
	check(power_on(w), "the storage is not ready");
	return w;
}

static void empty(world *w)
{
	check(settle_world(w, 20, 0), "%d notes are left, phase %d", w->queued, w->np.phase);
}

static char trace[1000];

static void follow(void *context, const char *line)
{
	world *w = context;
	char step[80];
	snprintf(step, sizeof step, "%s[%d starts, %lu bytes] ",
	         strstr(line, "delete")     ? "pop"
	         : strstr(line, "note.get") ? "peek"
	         : strstr(line, "note.add") ? "confirm"
	                                    : "time",
	         w->started, (unsigned long)w->saved);
	if (strlen(trace) + strlen(step) < sizeof trace)
		memcpy(trace + strlen(trace), step, strlen(step) + 1);
}

static void test_order(void)
{
	world *w = ready();
	const char *want = "peek[0 starts, 0 bytes] time[0 starts, 0 bytes] confirm[1 starts, 33 bytes] "
	                   "pop[1 starts, 33 bytes] peek[1 starts, 33 bytes] ";
	w->on_request = follow;
	trace[0] = 0;
	note(w, "completed", "cr_a", ",\"expires\":1790000600");
	empty(w);
	check(strcmp(trace, want) == 0, "got  %s\nwant %s", trace, want);
	note(w, "completed", "cr_b", ",\"expires\":1790000600");
	trace[0] = 0;
	want = "peek[1 starts, 33 bytes] confirm[2 starts, 66 bytes] pop[2 starts, 66 bytes] peek[2 starts, 66 bytes] ";
	empty(w);
	check(strcmp(trace, want) == 0, "got  %s\nwant %s", trace, want);
	free(w);
}

/* What a credit writes; storage that wears out has to last. */
static void test_bytes_written(void)
{
	const struct {
		const char *more, *failure;
		uint64_t bytes, limit;
	} rows[] = {
		{"", NULL, 33, 40},
		{",\"duration_s\":5", NULL, 34, 40},
		{",\"duration_s\":5,\"delayed_start_s\":5", NULL, 34, 40},
		{"", "E-ACT", 64, 65},
		{",\"duration_s\":5", "E-ACT", 65, 65},
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		world *w = ready();
		w->failure = rows[i].failure;
		note(w, "completed", "cr_a", rows[i].more);
		notepay_poll(&w->np);
		pass(w, 15000, 1);
		empty(w);
		check(w->saved == rows[i].bytes && w->saved <= rows[i].limit, "%s: wrote %lu bytes; want %lu", rows[i].more,
		      (unsigned long)w->saved, (unsigned long)rows[i].bytes);
		free(w);
	}
}

/* Field case 1: the reply of a pop is lost, and the next credit is not taken away unread. */
static void test_pop_reply_lost(void)
{
	for (int lost = 1; lost <= 6; lost++) {
		world *w = ready();
		char id[24];
		w->lose_pops = lost;
		for (int i = 0; i < 5; i++) {
			snprintf(id, sizeof id, "cr_%d", i);
			note(w, "completed", id, "");
		}
		empty(w);
		for (int i = 0; i < 5; i++) {
			snprintf(id, sizeof id, "cr_%d", i);
			expect(w, id, 1, "started");
		}
		check(w->popped == 5, "popped %d; want 5", w->popped);
		free(w);
	}
}

static void lose_request(void *context, const char *line)
{
	world *w = context;
	if (strstr(line, "delete") && w->lose_pops == 0) {
		w->mute = true; /* the request itself does not arrive */
		w->on_request = NULL;
	}
}

static void test_pop_request_lost(void)
{
	world *w = ready();
	w->on_request = lose_request;
	note(w, "completed", "cr_a", "");
	note(w, "completed", "cr_b", "");
	notepay_poll(&w->np);
	w->mute = false;
	empty(w);
	expect(w, "cr_a", 1, "started"); /* the answer is not repeated for a note that stayed */
	expect(w, "cr_b", 1, "started");
	free(w);
}

static void insert_first(void *context)
{
	world *w = context;
	w->on_pop = NULL;
	memcpy(w->queue[1], w->queue[0], sizeof w->queue[0]);
	w->queued = 0;
	note(w, "completed", "cr_first", "");
	w->queued = 2;
}

/* Another note turns up before the oldest between peek and pop, so that the pop removes it. */
static void test_pop_brings_another(void)
{
	world *w = ready();
	w->on_pop = insert_first;
	note(w, "completed", "cr_a", "");
	empty(w);
	check(starts(w, "cr_first") == 1 && starts(w, "cr_a") == 1, "started cr_first %d and cr_a %d times; want once each",
	      starts(w, "cr_first"), starts(w, "cr_a"));
	expect(w, "cr_first", 1, "started");
	free(w);
}

static void test_confirmation_lost(void)
{
	world *w = ready();
	note(w, "completed", "cr_a", "");
	note(w, "completed", "cr_b", "");
	w->full = true; /* the Notecard has no room for another note */
	check(notepay_poll(&w->np) == NOTEPAY_WAIT, "went on without an answer");
	notepay_poll(&w->np);
	check(w->queued == 2 && w->started == 1, "%d notes, %d starts; want 2 and 1", w->queued, w->started);
	w->full = false;
	empty(w);
	expect(w, "cr_a", 1, "started");
	expect(w, "cr_b", 1, "started");
	free(w);
}

static void test_end_is_not_lost(void)
{
	world *w = ready();
	note(w, "completed", "cr_a", ",\"duration_s\":5");
	notepay_poll(&w->np);
	w->mute = true;
	note(w, "completed", "cr_b", "");
	pass(w, 20000, 2);
	check(!w->on, "on after its time");
	w->mute = false;
	w->full = true;
	pass(w, 20000, 2);
	check(starts(w, "cr_b") == 0, "started the next before the end was answered");
	w->full = false;
	empty(w);
	expect(w, "cr_a", 1, "started done");
	expect(w, "cr_b", 1, "started");
	free(w);
}

/* Field case 6: a Notecard that does not answer keeps no output on. */
static void test_mute_while_running(void)
{
	world *w = ready();
	note(w, "completed", "cr_a", ",\"duration_s\":60");
	notepay_poll(&w->np);
	pass(w, 59000, 5);
	w->mute = true;
	notepay_poll(&w->np); /* blocks for 3 s, with ticks */
	check(!w->on && w->on_ms <= 60250, "on for %lu ms; want at most 60,250", (unsigned long)w->on_ms);
	free(w);
}

static void test_storage_fails(void)
{
	world *w = ready();
	note(w, "completed", "cr_a", "");
	w->read_only = true; /* it takes writes and does not keep them */
	notepay_poll(&w->np);
	check(w->started == 0 && w->answered == 0 && w->queued == 1, "acted without a record");
	w->read_only = false;
	w->broken_storage = true;
	notepay_poll(&w->np);
	check(w->started == 0 && w->answered == 0 && w->queued == 1, "acted without storage");
	check(!power_on(w), "broken storage is ready");
	notepay_poll(&w->np);
	check(w->started == 0 && w->queued == 1, "acted on broken storage");
	w->broken_storage = false;
	w->port.slots = 31;
	check(!power_on(w), "31 slots are enough");
	w->port.slots = 32;
	check(power_on(w), "32 slots are not enough");
	empty(w);
	expect(w, "cr_a", 1, "started");
	free(w);
}

static void break_storage(void *context, const char *line)
{
	world *w = context;
	if (strstr(line, "\"done\""))
		w->broken_storage = true;
}

static void test_mark_fails(void)
{
	world *w = ready();
	w->on_request = break_storage;
	note(w, "completed", "cr_a", ",\"duration_s\":5");
	note(w, "completed", "cr_b", "");
	notepay_poll(&w->np);
	pass(w, 30000, 2);
	check(!w->on, "on after its time");
	w->broken_storage = false; /* but what it holds is not certain */
	w->on_request = NULL;
	note(w, "completed", "cr_c", "");
	pass(w, 30000, 2);
	check(starts(w, "cr_c") == 0, "started after the storage had failed");
	power_on(w);
	empty(w);
	check(starts(w, "cr_c") == 1, "not started after a reset");
	free(w);
}

/* The ring holds 32 answers, and what runs is never overwritten. */
static void test_ring(void)
{
	world *w = ready();
	char id[24];
	w->np.top = 65330; /* the sequence number goes round below */
	note(w, "completed", "cr_long", ",\"duration_s\":14000");
	notepay_poll(&w->np);
	for (int i = 0; i < 100; i++) {
		snprintf(id, sizeof id, "cr_b%d", i);
		note(w, "completed", id, "");
		notepay_poll(&w->np);
		expect(w, id, 0, "busy");
	}
	power_on(w);
	notepay_poll(&w->np);
	check(w->on && strcmp(w->starts[w->started - 1].id, "cr_long") == 0, "it does not go on after a power cut");
	for (int i = 70; i < 100; i++) {
		snprintf(id, sizeof id, "cr_b%d", i);
		note(w, "completed", id, "");
		notepay_poll(&w->np);
		expect(w, id, 0, "busy busy");
	}
	note(w, "ended", "cr_long", "");
	empty(w);
	expect(w, "cr_long", 2, "started done");
	for (int i = 0; i < 200; i++) {
		snprintf(id, sizeof id, "cr_c%d", i);
		note(w, "refunded", id, "");
		notepay_poll(&w->np);
		power_on(w);
		if (i < 30)
			continue;
		snprintf(id, sizeof id, "cr_c%d", i - 30);
		note(w, "completed", id, "");
		notepay_poll(&w->np);
		check(starts(w, id) == 0, "%s was forgotten", id);
	}
	free(w);
}

/* A garbled line is one that another Notecard would have sent: with another id, and whole. */
static void test_garbled_id(void)
{
	for (int sums = 0; sums < 2; sums++) {
		world *w = ready();
		w->no_sums = !sums;
		note(w, "completed", "cr_a", "");
		empty(w);
		note(w, "completed", "cr_wrong", "");
		snprintf(w->raw_reply, sizeof w->raw_reply, "%s", w->queue[0]);
		w->queued = 0;
		note(w, "completed", "cr_right", "");
		w->raw_times = sums ? 3 : 1; /* the same twice is believed of a Notecard that sends no sums */
		empty(w);
		expect(w, "cr_wrong", 0, "");
		expect(w, "cr_right", 1, "started");
		free(w);
	}
}

static void test_blank_storage(void)
{
	const int patterns[] = {0x00, 0xff, 0xa5, 0x5a};
	for (size_t i = 0; i < 4; i++) {
		world *w = new_world(3);
		memset(w->storage, patterns[i], sizeof w->storage);
		check(power_on(w), "storage of %02x is not ready", (unsigned)patterns[i]);
		note(w, "completed", "cr_a", "");
		empty(w);
		expect(w, "cr_a", 1, "started");
		free(w);
	}
}

/* Field case 8: bits that flip in storage void a record; they never make one. */
static void test_bit_flips(void)
{
	for (unsigned bit = 0; bit < 32 * 8; bit++) {
		world *w = ready();
		note(w, "completed", "cr_a", ",\"duration_s\":600");
		notepay_poll(&w->np);
		w->storage[w->np.run * NOTEPAY_SLOT + bit / 8] ^= (uint8_t)(1 << bit % 8);
		w->on = false;
		power_on(w);
		pass(w, 700000, 60);
		check(w->on_ms <= 600000, "bit %u: on for %lu ms", bit, (unsigned long)w->on_ms);
		check(!w->on, "bit %u: still on", bit);
		note(w, "completed", "cr_b", "");
		empty(w);
		check(starts(w, "cr_b") == 1, "bit %u: the next credit did not start", bit);
		free(w);
	}
}

static void test_unsure(void)
{
	const struct {
		uint8_t unsure;
		int starts;
		const char *answered;
	} rows[] = {
		{NOTEPAY_UNSURE_FAILED, 1, "failed:E-POWR"},
		{NOTEPAY_UNSURE_STARTED, 1, "started"},
		{NOTEPAY_UNSURE_AGAIN, 2, "started"},
	};
	for (size_t i = 0; i < 3; i++) {
		world *w = ready();
		w->machine.unsure = rows[i].unsure;
		note(w, "completed", "cr_a", "");
		w->cut_in = 2 + 33 + 2; /* a line and its reply, the record, before the act, after it */
		settle_world(w, 20, 5);
		expect(w, "cr_a", rows[i].starts, rows[i].answered);
		note(w, "completed", "cr_a", "");
		empty(w);
		check(starts(w, "cr_a") == rows[i].starts, "unsure %d: a repeat started", rows[i].unsure);
		free(w);
	}
}

const test order_tests[] = {
	{"record, act, mark, confirm, pop, peek", test_order},
	{"a credit writes at most 40 bytes", test_bytes_written},
	{"the reply of a pop is lost", test_pop_reply_lost},
	{"a pop does not arrive", test_pop_request_lost},
	{"a pop brings another note", test_pop_brings_another},
	{"without an answer there is no pop", test_confirmation_lost},
	{"an end is answered when the Notecard is back", test_end_is_not_lost},
	{"a mute Notecard keeps no output on", test_mute_while_running},
	{"storage that does not hold starts nothing", test_storage_fails},
	{"storage that fails later ends all sales", test_mark_fails},
	{"the ring keeps what runs", test_ring},
	{"a garbled id starts nothing", test_garbled_id},
	{"blank storage", test_blank_storage},
	{"bits flip in storage", test_bit_flips},
	{"unsure", test_unsure},
	{NULL, NULL},
};
