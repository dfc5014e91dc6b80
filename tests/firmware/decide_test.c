/* decide_test.c: what each note is answered, and what it makes the machine do.
 *
 * Copyright (c) 2026 the notepay authors
 * SPDX-License-Identifier: MIT
 */
#include "tests.h"

#define NOW 1790000000 /* the world's epoch */
#define TEXT2(x) #x
#define TEXT(x) TEXT2(x)
#define EXPIRES(s) ",\"expires\":" TEXT(s)

/* expect checks what happened to one credit, and frees nothing. */
static void expect(world *w, const char *id, int started, const char *answered)
{
	check(starts(w, id) == started, "%s: started %d times; want %d", id, starts(w, id), started);
	check(strcmp(answers(w, id), answered) == 0, "%s: answered \"%s\"; want \"%s\"", id, answers(w, id), answered);
}

static world *ready(void)
{
	world *w = new_world(1);
	check(power_on(w), "the storage is not ready");
	return w;
}

static void empty(world *w)
{
	check(settle_world(w, 20, 0), "%d notes are left, phase %d", w->queued, w->np.phase);
}

static void test_start(void)
{
	world *w = ready();
	note(w, "completed", "cr_7k3m9q2xh4abcdef", EXPIRES(1790000600));
	empty(w);
	expect(w, "cr_7k3m9q2xh4abcdef", 1, "started");
	check(w->popped == 1, "popped %d; want 1", w->popped);
	check(!w->on, "a credit without a duration left the output on");
	free(w);
}

static void test_fields(void)
{
	world *w = ready();
	const start_call *s = &w->starts[0];
	note(w, "completed", "cr_a",
	     EXPIRES(1790000600) ",\"duration_s\":3600,\"code\":\"049317\",\"pulses\":4,\"output\":2");
	notepay_poll(&w->np);
	check(s->seconds == 3600 && strcmp(s->code, "049317") == 0 && s->pulses == 4 && s->output == 2,
	      "start got %u s, code %s, %u pulses, output %u", s->seconds, s->code, s->pulses, s->output);
	check(w->on && notepay_running(&w->np) == 3600, "it runs for %u s; want 3600", notepay_running(&w->np));
	free(w);
}

static void test_timed(void)
{
	world *w = ready();
	note(w, "completed", "cr_a", ",\"duration_s\":60");
	notepay_poll(&w->np);
	expect(w, "cr_a", 1, "started");
	pass(w, 58000, 5);
	check(w->on, "off before its time");
	pass(w, 3000, 1);
	expect(w, "cr_a", 1, "started done");
	check(!w->on && w->on_ms >= 59900 && w->on_ms <= 60050, "on for %lu ms; want 60,000", (unsigned long)w->on_ms);
	check(notepay_running(&w->np) == 0, "still running");
	note(w, "completed", "cr_b", "");
	empty(w);
	expect(w, "cr_b", 1, "started");
	free(w);
}

static void test_delayed(void)
{
	world *w = ready();
	note(w, "completed", "cr_a", ",\"duration_s\":60,\"delayed_start_s\":30");
	notepay_poll(&w->np);
	expect(w, "cr_a", 0, "started");
	pass(w, 29000, 5);
	check(!w->on, "on before its delay was over");
	pass(w, 1200, 0);
	expect(w, "cr_a", 1, "started");
	check(w->on, "not on after its delay");
	pass(w, 61000, 1);
	expect(w, "cr_a", 1, "started done");
	check(w->on_ms >= 59900 && w->on_ms <= 60050, "on for %lu ms; want 60,000", (unsigned long)w->on_ms);
	free(w);
}

static void test_delayed_start_fails(void)
{
	world *w = ready();
	w->failure = "E-DOOR";
	note(w, "completed", "cr_a", ",\"duration_s\":60,\"delayed_start_s\":30");
	notepay_poll(&w->np);
	pass(w, 33000, 1);
	expect(w, "cr_a", 1, "started failed:E-DOOR");
	check(!w->on, "the output is on after its start failed");
	note(w, "completed", "cr_a", ",\"duration_s\":60,\"delayed_start_s\":30");
	empty(w);
	expect(w, "cr_a", 1, "started failed:E-DOOR failed:E-DOOR");
	free(w);
}

static void test_repeat(void)
{
	world *w = ready();
	note(w, "completed", "cr_a", "");
	note(w, "completed", "cr_a", "");
	empty(w);
	expect(w, "cr_a", 1, "started started");
	power_on(w);
	note(w, "completed", "cr_a", "");
	empty(w);
	expect(w, "cr_a", 1, "started started started");
	w->refusal = "E-DOOR";
	note(w, "completed", "cr_b", "");
	empty(w);
	w->refusal = NULL;
	note(w, "completed", "cr_b", "");
	empty(w);
	expect(w, "cr_b", 0, "failed:E-DOOR failed:E-DOOR");
	free(w);
}

static void test_repeat_of_a_timed_one(void)
{
	world *w = ready();
	note(w, "completed", "cr_a", ",\"duration_s\":10");
	notepay_poll(&w->np);
	note(w, "completed", "cr_a", ",\"duration_s\":10");
	notepay_poll(&w->np);
	expect(w, "cr_a", 1, "started started");
	pass(w, 12000, 1);
	note(w, "completed", "cr_a", ",\"duration_s\":10");
	empty(w);
	expect(w, "cr_a", 1, "started started done done");
	free(w);
}

static void test_busy(void)
{
	world *w = ready();
	note(w, "completed", "cr_a", ",\"duration_s\":60");
	note(w, "completed", "cr_b", "");
	note(w, "completed", "cr_c", ",\"duration_s\":60");
	notepay_poll(&w->np);
	expect(w, "cr_b", 0, "busy");
	expect(w, "cr_c", 0, "busy");
	pass(w, 62000, 1);
	note(w, "completed", "cr_b", "");
	empty(w);
	expect(w, "cr_b", 0, "busy busy"); /* that money is back */
	w->refusal = notepay_busy;
	note(w, "completed", "cr_d", "");
	empty(w);
	expect(w, "cr_d", 0, "busy");
	free(w);
}

static void test_busy_while_delayed(void)
{
	world *w = ready();
	note(w, "completed", "cr_a", ",\"duration_s\":60,\"delayed_start_s\":30");
	note(w, "completed", "cr_b", "");
	notepay_poll(&w->np);
	expect(w, "cr_b", 0, "busy");
	free(w);
}

static void test_refuse(void)
{
	world *w = ready();
	w->refusal = "E-DOOR";
	note(w, "completed", "cr_a", ",\"duration_s\":60");
	empty(w);
	expect(w, "cr_a", 0, "failed:E-DOOR");
	w->refusal = "E-LONGER-THAN-TEN";
	note(w, "completed", "cr_b", "");
	empty(w);
	expect(w, "cr_b", 0, "failed:E-LONGER-T");
	w->refusal = "";
	note(w, "completed", "cr_c", "");
	empty(w);
	expect(w, "cr_c", 0, "failed");
	w->machine.refuse = NULL;
	note(w, "completed", "cr_d", "");
	empty(w);
	expect(w, "cr_d", 1, "started");
	free(w);
}

/* Field case 10: a machine that acted in part and then failed is stopped and not tried again. */
static void test_start_fails(void)
{
	for (int timed = 0; timed < 2; timed++) {
		world *w = ready();
		w->failure = "E-MDB";
		note(w, "completed", "cr_a", timed ? ",\"duration_s\":60" : "");
		empty(w);
		expect(w, "cr_a", 1, "failed:E-MDB");
		check(!w->on && w->stops >= 2, "the machine was not stopped");
		w->failure = NULL;
		note(w, "completed", "cr_a", timed ? ",\"duration_s\":60" : "");
		empty(w);
		power_on(w);
		empty(w);
		expect(w, "cr_a", 1, "failed:E-MDB failed:E-MDB");
		note(w, "completed", "cr_b", "");
		empty(w);
		expect(w, "cr_b", 1, "started");
		free(w);
	}
}

static void test_stop(void)
{
	const char *status[] = {"refunded", "ended"};
	for (int i = 0; i < 2; i++) {
		world *w = ready();
		note(w, "completed", "cr_a", ",\"duration_s\":60");
		notepay_poll(&w->np);
		note(w, status[i], "cr_b", "");
		notepay_poll(&w->np);
		check(w->on, "stopped by the end of another credit");
		note(w, status[i], "cr_a", "");
		notepay_poll(&w->np);
		expect(w, "cr_a", 1, "started done");
		check(!w->on, "still on after %s", status[i]);
		empty(w);
		power_on(w);
		empty(w);
		expect(w, "cr_a", 1, "started done");
		free(w);
	}
}

static void test_stop_while_delayed(void)
{
	world *w = ready();
	note(w, "completed", "cr_a", ",\"duration_s\":60,\"delayed_start_s\":30");
	note(w, "refunded", "cr_a", "");
	empty(w);
	pass(w, 100000, 5);
	expect(w, "cr_a", 0, "started done");
	free(w);
}

static void test_stop_comes_first(void)
{
	world *w = ready();
	note(w, "refunded", "cr_a", "");
	note(w, "completed", "cr_a", "");
	empty(w);
	expect(w, "cr_a", 0, "failed:E-STOP");
	note(w, "completed", "cr_b", EXPIRES(1789999000));
	note(w, "refunded", "cr_b", "");
	note(w, "completed", "cr_b", EXPIRES(1790009000));
	empty(w);
	expect(w, "cr_b", 0, "expired failed:E-STOP");
	free(w);
}

static void test_expired(void)
{
	world *w = ready();
	note(w, "completed", "cr_a", EXPIRES(1789999999));
	empty(w);
	expect(w, "cr_a", 0, "expired");
	note(w, "completed", "cr_a", EXPIRES(1789999999));
	empty(w);
	expect(w, "cr_a", 0, "expired expired");
	w->clock_error = -86400; /* its money is back, whatever the clock says now */
	power_on(w);
	note(w, "completed", "cr_a", EXPIRES(1789999999));
	empty(w);
	expect(w, "cr_a", 0, "expired expired expired");
	w->clock_error = 0;
	power_on(w);
	note(w, "completed", "cr_a", EXPIRES(1790000900)); /* the operator's Retry */
	empty(w);
	expect(w, "cr_a", 1, "expired expired expired started");
	note(w, "completed", "cr_a", EXPIRES(1790000990));
	empty(w);
	expect(w, "cr_a", 1, "expired expired expired started started");
	free(w);
}

/* Field case 7: no note switches anything on for longer than the sketch allows. */
static void test_max_run(void)
{
	const struct {
		uint32_t limit;
		const char *more;
		const char *want;
	} rows[] = {
		{0, ",\"duration_s\":14400", "started"},
		{0, ",\"duration_s\":14401", "failed:E-TIME"},
		{0, ",\"duration_s\":99999999999999", "failed:E-TIME"},
		{0, ",\"duration_s\":1e3", "failed:E-TIME"},
		{0, ",\"duration_s\":60.5", "failed:E-TIME"},
		{0, ",\"duration_s\":60,\"delayed_start_s\":14401", "failed:E-TIME"},
		{60, ",\"duration_s\":60", "started"},
		{60, ",\"duration_s\":61", "failed:E-TIME"},
		{16777215, ",\"duration_s\":16777215", "started"},
		{16777215, ",\"duration_s\":16777216", "failed:E-TIME"},
		{0, ",\"expires\":1e12", "failed:E-TIME"},
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		world *w = ready();
		w->machine.max_run_s = rows[i].limit;
		note(w, "completed", "cr_a", rows[i].more);
		notepay_poll(&w->np);
		check(strcmp(answers(w, "cr_a"), rows[i].want) == 0, "limit %u%s: %s; want %s", rows[i].limit, rows[i].more,
		      answers(w, "cr_a"), rows[i].want);
		free(w);
	}
}

static void test_others_are_removed(void)
{
	const char *const notes[] = {
		"{\"body\":{\"payment_status\":\"disputed\",\"credit_id\":\"cr_a\"}}",
		"{\"body\":{\"payment_status\":\"complete\",\"credit_id\":\"cr_a\"}}",
		"{\"body\":{\"payment_status\":1,\"credit_id\":\"cr_a\"}}",
		"{\"body\":{\"payment_status\":\"completed\",\"credit_id\":\"\"}}",
		"{\"body\":{\"payment_status\":\"completed\",\"credit_id\":7}}",
		"{\"body\":{\"payment_status\":\"completed\",\"credit_id\":\"xr_a\"}}",
		"{\"body\":{\"payment_status\":\"completed\",\"credit_id\":\"cr_A\"}}",
		"{\"body\":{\"payment_status\":\"completed\",\"credit_id\":\"cr_a b\"}}",
		"{\"body\":{\"payment_status\":\"completed\",\"credit_id\":\"cr_\\u0061\"}}",
		"{\"body\":{\"payment_status\":\"completed\",\"credit_id\":\"cr_12345678901234567\"}}",
		"{\"body\":{\"payment_status\":\"completed\",\"timestamp\":1,\"session_id\":\"cs_1\"}}",
		"{\"body\":{\"state\":\"out\"}}",
		"{\"body\":[]}",
		"{\"body\":7}",
		"{\"body\":{}}",
		"{\"payload\":\"aGVsbG8=\"}",
		"{}",
		"{\"body\":{\"payment_status\":\"completed\",\"credit_id\":\"cr_a\"",
		"[1,2]",
		"}{",
	};
	for (size_t i = 0; i < sizeof notes / sizeof notes[0]; i++) {
		for (int sums = 0; sums < 2; sums++) {
			world *w = ready();
			if (sums && i + 3 >= sizeof notes / sizeof notes[0]) {
				free(w);
				continue; /* no object has no sum */
			}
			w->no_sums = !sums;
			snprintf(w->queue[w->queued++], sizeof w->queue[0], "%s", notes[i]);
			note(w, "completed", "cr_b", "");
			empty(w);
			check(w->started == 1 && w->answered == 1, "%s: %d starts, %d answers; want 1 and 1", notes[i], w->started,
			      w->answered);
			expect(w, "cr_b", 1, "started");
			free(w);
		}
	}
}

static void test_too_long(void)
{
	world *w = ready();
	char more[500];
	int polls = 0;
	memset(more, 'x', sizeof more);
	memcpy(more, ",\"x\":\"", 6);
	memcpy(more + sizeof more - 2, "\"", 2);
	note(w, "completed", "cr_a", more);
	note(w, "completed", "cr_b", "");
	while (w->popped == 0 && polls++ < 5)
		notepay_poll(&w->np);
	empty(w);
	expect(w, "cr_a", 0, "");
	expect(w, "cr_b", 1, "started");
	free(w);
}

static void test_end(void)
{
	world *w = ready();
	note(w, "completed", "cr_a", ",\"duration_s\":60");
	notepay_poll(&w->np);
	notepay_end(&w->np, NULL);
	check(!w->on, "on after its end");
	empty(w);
	expect(w, "cr_a", 1, "started done");
	note(w, "completed", "cr_b", ",\"duration_s\":60");
	notepay_poll(&w->np);
	notepay_end(&w->np, "E-JAM");
	empty(w);
	expect(w, "cr_b", 1, "started failed:E-JAM");
	notepay_end(&w->np, "E-NONE"); /* nothing runs */
	power_on(w);
	empty(w);
	expect(w, "cr_b", 1, "started failed:E-JAM");
	note(w, "completed", "cr_c", ",\"duration_s\":60,\"delayed_start_s\":60");
	notepay_poll(&w->np);
	notepay_end(&w->np, NULL);
	empty(w);
	expect(w, "cr_c", 0, "started done");
	free(w);
}

static void test_request(void)
{
	world *w = ready();
	const char *hub = NOTEPAY_HUB("product:com.your-company:washers");
	check(notepay_request(&w->np, hub), "hub.set was not accepted");
	check(strncmp(w->last_request,
	              "{\"req\":\"hub.set\",\"product\":\"product:com.your-company:washers\",\"mode\":\"continuous\","
	              "\"sync\":true,\"inbound\":60,\"outbound\":15,\"crc\":\"",
	              113) == 0,
	      "sent %s", w->last_request);
	w->mute = true;
	check(!notepay_request(&w->np, hub), "a mute Notecard accepted it");
	free(w);
}

const test decide_tests[] = {
	{"a completed credit starts once", test_start},
	{"what a note orders reaches the machine", test_fields},
	{"a timed credit runs its time", test_timed},
	{"a delayed credit begins later", test_delayed},
	{"a delayed start may fail", test_delayed_start_fails},
	{"a repeat gets the recorded answer", test_repeat},
	{"a repeat of a timed credit gets its state", test_repeat_of_a_timed_one},
	{"another credit is answered busy", test_busy},
	{"another credit is answered busy before a delayed start", test_busy_while_delayed},
	{"the machine refuses", test_refuse},
	{"a start fails after acting in part", test_start_fails},
	{"refunded and ended stop", test_stop},
	{"refunded stops what is delayed", test_stop_while_delayed},
	{"refunded wins though it comes first", test_stop_comes_first},
	{"expired, and decided again with a later expires", test_expired},
	{"max_run_s bounds what a note orders", test_max_run},
	{"anything else is removed", test_others_are_removed},
	{"a note that is too long is removed", test_too_long},
	{"the sketch ends a credit", test_end},
	{"a request of the sketch", test_request},
	{NULL, NULL},
};
