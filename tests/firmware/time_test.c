/* time_test.c: clocks that wrap, jump, are late or are not known.
 *
 * Copyright (c) 2026 the notepay authors
 * SPDX-License-Identifier: MIT
 */
#include "tests.h"

static void expect(world *w, const char *what, const char *id, int started, const char *answered)
{
	check(starts(w, id) == started, "%s: %s started %d times; want %d", what, id, starts(w, id), started);
	check(strcmp(answers(w, id), answered) == 0, "%s: %s answered \"%s\"; want \"%s\"", what, id, answers(w, id),
	      answered);
}

static void test_expiry_to_the_second(void)
{
	for (int warm = 0; warm < 2; warm++) {
		for (int late = -2; late <= 2; late++) {
			world *w = new_world(1);
			char more[40];
			w->reply_ms = 1;
			power_on(w);
			if (warm)
				notepay_poll(&w->np); /* it knows the time already */
			w->ms = 100500;
			snprintf(more, sizeof more, ",\"expires\":%lu", (unsigned long)((int64_t)unix_now(w) - late));
			note(w, "completed", "cr_a", more);
			settle_world(w, 5, 0);
			expect(w, more, "cr_a", late <= 0, late <= 0 ? "started" : "expired");
			free(w);
		}
	}
}

/* A host whose clock is 5 per cent slow does not start what has expired. */
static void test_slow_host(void)
{
	world *w = new_world(1);
	char more[40];
	power_on(w);
	notepay_poll(&w->np);
	w->ms += 800000;
	w->boot += 40000; /* its millis has lost 40 s */
	snprintf(more, sizeof more, ",\"expires\":%lu", (unsigned long)unix_now(w) - 10);
	note(w, "completed", "cr_a", more);
	settle_world(w, 5, 0);
	expect(w, "slow", "cr_a", 0, "expired");
	free(w);
}

static void test_millis_wraps(void)
{
	for (uint32_t before = 0; before < 70000; before += 3700) {
		world *w = new_world(1);
		w->millis_at = 0u - before;
		power_on(w);
		note(w, "completed", "cr_a", ",\"duration_s\":60,\"delayed_start_s\":5,\"expires\":1790000600");
		notepay_poll(&w->np);
		pass(w, 70000, 1);
		expect(w, "wrap", "cr_a", 1, "started done");
		check(w->on_ms >= 59900 && w->on_ms <= 60050, "on for %lu ms; want 60,000", (unsigned long)w->on_ms);
		free(w);
	}
}

/* 100 days are twice as long as what millis counts. */
static void test_long_run(void)
{
	world *w = new_world(1);
	w->machine.max_run_s = 16777215;
	power_on(w);
	note(w, "completed", "cr_a", ",\"duration_s\":8640000");
	notepay_poll(&w->np);
	for (int hour = 0; hour < 2399; hour++) {
		w->ms += 3600000;
		notepay_tick(&w->np);
	}
	check(w->on, "off before 100 days");
	w->ms += 3600000;
	notepay_tick(&w->np);
	check(!w->on, "on after 100 days");
	free(w);
}

static void test_clock_jumps_while_running(void)
{
	for (int days = -1; days <= 1; days += 2) {
		world *w = new_world(1);
		power_on(w);
		note(w, "completed", "cr_a", ",\"duration_s\":60");
		notepay_poll(&w->np);
		pass(w, 20000, 5);
		w->clock_error = days * 86400;
		pass(w, 45000, 5);
		expect(w, "jump", "cr_a", 1, "started done");
		check(w->on_ms >= 59900 && w->on_ms <= 60050, "on for %lu ms; want 60,000", (unsigned long)w->on_ms);
		free(w);
	}
}

static void test_clock_jumps_in_a_power_cut(void)
{
	const struct {
		int64_t error;
		const char *more, *answered;
		int starts;
		bool on;
	} rows[] = {
		{86400, ",\"duration_s\":600", "started done", 1, false},
		{-86400, ",\"duration_s\":600", "started failed:E-TIME", 1, false},
		{-86400, ",\"duration_s\":600,\"delayed_start_s\":300", "started failed:E-TIME", 0, false},
		{86400, ",\"duration_s\":600,\"delayed_start_s\":300", "started failed:E-POWR", 0, false},
		{3, ",\"duration_s\":600", "started", 2, true},
		{-3, ",\"duration_s\":600", "started", 2, true},
		{0, ",\"duration_s\":600", "started", 2, true},
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		world *w = new_world(1);
		power_on(w);
		note(w, "completed", "cr_a", rows[i].more);
		notepay_poll(&w->np);
		w->on = false;
		w->clock_error = rows[i].error;
		power_on(w);
		pass(w, 4000, 1);
		expect(w, rows[i].more, "cr_a", rows[i].starts, rows[i].answered);
		check(w->on == rows[i].on, "%lld s, %s: on %d", (long long)rows[i].error, rows[i].more, w->on);
		free(w);
	}
}

static void test_clock_unknown_for_an_hour(void)
{
	world *w = new_world(1);
	w->clock_from = 3600000;
	power_on(w);
	note(w, "completed", "cr_a", ",\"expires\":1790003900");
	note(w, "completed", "cr_b", "");
	pass(w, 3590000, 60);
	check(w->started == 0 && w->queued == 2, "started %d with an unknown time", w->started);
	pass(w, 80000, 60);
	expect(w, "known again", "cr_a", 1, "started");
	expect(w, "known again", "cr_b", 1, "started");
	free(w);
}

/* Without expires and duration no time is needed. */
static void test_no_time_needed(void)
{
	world *w = new_world(1);
	w->clock_unknown = true;
	power_on(w);
	note(w, "completed", "cr_a", "");
	settle_world(w, 5, 0);
	expect(w, "no time", "cr_a", 1, "started");
	free(w);
}

/* Field case 5: what ran before an outage is off until the time is known, and goes on then. */
static void test_off_until_the_time_is_known(void)
{
	for (int expect_on = 0; expect_on < 2; expect_on++) {
		world *w = new_world(1);
		power_on(w);
		note(w, "completed", "cr_a", expect_on ? ",\"duration_s\":7200" : ",\"duration_s\":1800");
		notepay_poll(&w->np);
		pass(w, 60000, 5);
		w->on_ms += w->ms - w->on_at;
		w->on = false;
		w->clock_from = w->ms + 3600000;
		power_on(w);
		pass(w, 3590000, 10);
		check(!w->on && starts(w, "cr_a") == 1, "on before the time was known");
		note(w, "completed", "cr_b", "");
		pass(w, 30000, 5);
		check(w->on == expect_on, "on %d; want %d", w->on, expect_on);
		expect(w, "later", "cr_b", !expect_on, expect_on ? "busy" : "started");
		pass(w, 3600000, 10);
		expect(w, "at the end", "cr_a", 1 + expect_on, "started done");
		check(w->on_ms <= 7200000, "on for %lu ms", (unsigned long)w->on_ms);
		free(w);
	}
}

static void test_2038(void)
{
	for (uint32_t epoch = 2147483600u; epoch < 2147483700u; epoch += 7) {
		world *w = new_world(1);
		char more[80];
		w->epoch = epoch;
		power_on(w);
		snprintf(more, sizeof more, ",\"expires\":%lu,\"duration_s\":60", (unsigned long)epoch + 40);
		note(w, "completed", "cr_a", more);
		snprintf(more, sizeof more, ",\"expires\":%lu", (unsigned long)epoch - 40);
		note(w, "completed", "cr_b", more);
		notepay_poll(&w->np);
		pass(w, 20000, 5);
		w->on_ms += w->ms - w->on_at;
		w->on = false;
		power_on(w);
		pass(w, 50000, 1);
		expect(w, "2038", "cr_a", 2, "started done");
		expect(w, "2038", "cr_b", 0, "expired");
		check(w->on_ms >= 56000 && w->on_ms <= 60000, "on for %lu ms", (unsigned long)w->on_ms);
		free(w);
	}
}

static int asked;

static void count_time(void *context, const char *line)
{
	(void)context;
	asked += strstr(line, "card.time") != NULL;
}

static void test_time_is_not_asked_often(void)
{
	world *w = new_world(1);
	power_on(w);
	w->on_request = count_time;
	asked = 0;
	pass(w, 3600000, 60);
	check(asked >= 4 && asked <= 10, "asked for the time %d times in an hour", asked);
	free(w);
}

/* A Notecard of before June 2023 sends no sums. */
static void test_time_without_sums(void)
{
	world *w = new_world(1);
	w->no_sums = true;
	power_on(w);
	note(w, "completed", "cr_a", ",\"expires\":1790000600,\"duration_s\":60");
	settle_world(w, 3, 0);
	expect(w, "no sums", "cr_a", 1, "started");
	pass(w, 61000, 1);
	expect(w, "no sums", "cr_a", 1, "started done");
	free(w);
}

/* on_i2c makes a request take as long as note-c needs on I2C at 100 kHz, in pieces of 30 bytes: 6 ms
 * before and 20 ms after each piece that is sent, 50 ms between the looks for a reply, 1 ms before
 * each piece that is read, and 0.1 ms for each byte. */
static void on_i2c(void *context, const char *line)
{
	world *w = context;
	size_t out = strlen(line), in = 50;
	if (strstr(line, "note.get") && w->queued > 0)
		in = strlen(w->queue[0]) + 24;
	w->reply_ms = (int)((out + 29) / 30 * 26 + 56 + (in + 29) / 30 + (out + in) / 10);
}

static void test_start_on_i2c(void)
{
	world *w = new_world(1);
	uint64_t from, took;
	w->on_request = on_i2c;
	power_on(w);
	settle_world(w, 2, 0); /* it knows the time */
	note(w, "completed", "cr_7k3m9q2xh4abcdef",
	     ",\"expires\":1790000600,\"duration_s\":3600,\"delayed_start_s\":0,\"code\":\"049317\"");
	from = w->ms;
	notepay_poll(&w->np);
	took = w->starts[0].at - from + NOTEPAY_SLOT * 4 / 10; /* the world's byte takes 3 ms, an EEPROM's 3.4 */
	check(w->started == 1 && took <= 500, "%d starts, the first after %lu ms; want one within 500", w->started,
	      (unsigned long)took);
	if (amount("FIRMWARE_FIGURES", 0))
		printf("  note to start on I2C: %lu ms (at most 500)\n", (unsigned long)took);
	free(w);
}

const test time_tests[] = {
	{"time, a start on I2C", test_start_on_i2c},
	{"time, expiry to the second", test_expiry_to_the_second},
	{"time, a slow host asks again", test_slow_host},
	{"time, millis wraps", test_millis_wraps},
	{"time, a run of 100 days", test_long_run},
	{"time, the clock jumps while it runs", test_clock_jumps_while_running},
	{"time, the clock jumps in a power cut", test_clock_jumps_in_a_power_cut},
	{"time, the clock is unknown for an hour", test_clock_unknown_for_an_hour},
	{"time, not needed", test_no_time_needed},
	{"time, off until it is known", test_off_until_the_time_is_known},
	{"time, 2038", test_2038},
	{"time, not asked often", test_time_is_not_asked_often},
	{"time, without sums", test_time_without_sums},
	{NULL, NULL},
};
