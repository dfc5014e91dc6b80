/* history_test.c: random histories in which a third of the replies is lost or garbled, and notes
 * come one to three times in any order.
 *
 * Copyright (c) 2026 the notepay authors
 * SPDX-License-Identifier: MIT
 */
#include "tests.h"

enum { MAX_CREDITS = 8 };

typedef struct {
	bool sums, timed, stopped, cuts;
} flavor;

static void deliver(world *w, char ids[][24], int n, const flavor *f)
{
	struct {
		int credit;
		bool stop;
	} order[MAX_CREDITS * 4];
	int notes = 0;
	for (int i = 0; i < n; i++) {
		for (uint32_t times = 1 + next_random(w) % 3; times > 0; times--) {
			order[notes].credit = i;
			order[notes++].stop = false;
		}
		if (f->stopped && i % 3 == 2) {
			order[notes].credit = i;
			order[notes++].stop = true;
		}
	}
	for (int i = notes; i > 0; i--) {
		int j = (int)(next_random(w) % (uint32_t)i), credit = order[j].credit;
		bool timed = f->timed && credit % 2 == 0;
		note(w, order[j].stop ? "refunded" : "completed", ids[credit],
		     timed ? ",\"expires\":1790086400,\"duration_s\":4" : ",\"expires\":1790086400,\"pulses\":2");
		order[j] = order[i - 1];
		if (next_random(w) % 4 == 0)
			notepay_poll(&w->np);
	}
}

/* consistent reports whether a credit got one kind of answer: started (and done), or another. */
static bool consistent(const char *said)
{
	bool start = strstr(said, "started") || strstr(said, "done");
	return start != (strstr(said, "failed") || strstr(said, "busy") || strstr(said, "expired"));
}

static void history(uint32_t seed, const flavor *f)
{
	world *w = new_world(seed);
	char ids[MAX_CREDITS][24];
	int n = 1 + (int)(next_random(w) % MAX_CREDITS);
	power_on(w);
	w->reply_ms = 1;
	w->pulse_ms = 1;
	w->no_sums = !f->sums;
	w->lose_per_cent = 17;
	w->garble_per_cent = 20; /* of those that are left: a third in all */
	for (int i = 0; i < n; i++) {
		memcpy(ids[i], "cr_", 4);
		for (int c = 3; c < 19; c++)
			ids[i][c] = "abcdefghijklmnopqrstuvwxyz234567"[next_random(w) % 32];
		ids[i][19] = 0;
	}
	if (setjmp(w->dark) == 0)
		deliver(w, ids, n, f);
	if (f->cuts) {
		w->torn = (int)(next_random(w) % 3);
		w->cut_in = 1 + (long)(next_random(w) % 200);
	}
	check(settle_world(w, 2000, 1), "seed %u: %d notes are left", seed, w->queued);
	for (int i = 0; i < n; i++) {
		const char *said = answers(w, ids[i]);
		int started = starts(w, ids[i]);
		bool kept = strstr(said, "started") || strstr(said, "done");
		bool stopped = f->stopped && i % 3 == 2;
		bool timed = f->timed && i % 2 == 0;
		check(said[0] != 0 || stopped, "seed %u: %s was not answered", seed, ids[i]);
		check(started <= 1 || (f->cuts && timed), "seed %u: %s started %d times", seed, ids[i], started);
		if (!f->cuts) {
			check(said[0] == 0 || consistent(said), "seed %u: %s answered %s", seed, ids[i], said);
			check(started == kept, "seed %u: %s started %d times, answered %s", seed, ids[i], started, said);
			if (!f->timed && !stopped)
				check(started == 1, "seed %u: %s started %d times, answered %s", seed, ids[i], started, said);
		} else {
			check(!kept || started >= 1 || strstr(said, "failed"), "seed %u: %s paid for nothing: %s", seed, ids[i],
			      said);
		}
	}
	check(!w->on, "seed %u: still on", seed);
	free(w);
}

static void test_histories(void)
{
	static const flavor flavors[] = {
		{true, false, false, false}, {false, false, false, false}, {true, true, false, false},
		{true, false, true, false},  {true, true, true, false},    {true, true, true, true},
	};
	long n = amount("FIRMWARE_HISTORIES", 20000);
	for (long i = 0; i < n && failures < 20; i++)
		history((uint32_t)i, &flavors[i % 6]);
}

const test history_tests[] = {
	{"histories", test_histories},
	{NULL, NULL},
};
