/* cut_test.c: the power fails at every byte that is saved, and before and after every line and
 * every act.
 *
 * Copyright (c) 2026 the notepay authors
 * SPDX-License-Identifier: MIT
 */
#include "tests.h"

typedef struct {
	const char *name, *more;
	uint32_t delay, duration;
} kind;

static const kind kinds[] = {
	{"pulse", ",\"expires\":1790086400,\"pulses\":3", 0, 0},
	{"timed", ",\"expires\":1790086400,\"duration_s\":60", 0, 60},
	{"delayed", ",\"expires\":1790086400,\"duration_s\":60,\"delayed_start_s\":30", 30, 60},
	{"locker", ",\"duration_s\":60,\"code\":\"049317\"", 0, 60},
};

/* tally counts what became of the credits of one kind. */
typedef struct {
	int cuts, starts[3], given_away, for_nothing, settled_by_operator;
} tally;

/* verdict is what the bridge makes of the answers: the first that decides. */
typedef enum { SILENT, KEPT, BACK } verdict;

static verdict money(world *w, const char *id)
{
	for (int i = 0; i < w->answered; i++) {
		if (strcmp(w->answers[i].id, id) != 0)
			continue;
		return strcmp(w->answers[i].state, "started") == 0 || strcmp(w->answers[i].state, "done") == 0 ? KEPT : BACK;
	}
	return SILENT;
}

typedef struct {
	uint8_t unsure;
	int torn;
	uint32_t dark_s, late_s;
	int more_cuts;
} setting;

/* judge checks one credit after a cut, and counts it. */
static void judge(world *w, const kind *k, const setting *s, tally *t, const char *what)
{
	int n = starts(w, "cr_a"), acted = k->duration ? w->on_ms > 0 : n > 0;
	verdict v = money(w, "cr_a");
	const char *said = answers(w, "cr_a");
	bool failed_later = v == KEPT && strstr(said, "failed") != NULL;

	check(w->queued == 0, "%s: the queue is not empty", what);
	check(v != SILENT, "%s: not answered", what);
	check(!w->on, "%s: still on", what);
	check(w->on_ms <= (uint64_t)k->duration * 1000 + 60 || s->unsure == NOTEPAY_UNSURE_AGAIN, "%s: on for %lu ms", what,
	      (unsigned long)w->on_ms);
	if (k->duration && v == KEPT && !failed_later)
		check(strstr(said, "done") != NULL, "%s: its end was not answered: %s", what, said);
	for (int i = 0; i < w->started; i++)
		if (strstr(k->more, "code"))
			check(strcmp(w->starts[i].code, "049317") == 0, "%s: its code was lost: %s", what, w->starts[i].code);
	if (k->duration == 0)
		check(n <= 1 || s->unsure == NOTEPAY_UNSURE_AGAIN, "%s: started %d times", what, n);
	if (v == KEPT && !acted && !failed_later)
		t->for_nothing++;
	if (v == BACK && acted)
		t->given_away++;
	t->settled_by_operator += failed_later;
	if (s->unsure == NOTEPAY_UNSURE_FAILED)
		check(v == BACK || acted || failed_later, "%s: paid for nothing: %s", what, said);
	if (s->unsure == NOTEPAY_UNSURE_AGAIN)
		check(acted && v == KEPT, "%s: started %d times, on for %lu ms, answered %s", what, n, (unsigned long)w->on_ms,
		      said);
	if (s->unsure != NOTEPAY_UNSURE_FAILED && k->duration == 0)
		check(v == KEPT, "%s: answered %s", what, said);
	/* What is left of its time is not lost. */
	if (k->duration && s->dark_s * 1000 + 15000 < k->duration * 1000 && w->late_s == 0 && w->cuts < 2)
		check(w->on_ms + s->dark_s * 1000 + 15000 >= k->duration * 1000, "%s: on for %lu ms only", what,
		      (unsigned long)w->on_ms);
	t->cuts += w->cuts;
	t->starts[n < 2 ? n : 2]++;
}

/* used_world returns a world whose ring is full of other credits. */
static world *used_world(uint32_t seed)
{
	world *w = new_world(seed);
	char id[24];
	w->reply_ms = 60;
	power_on(w);
	for (int i = 0; i < 40; i++) {
		snprintf(id, sizeof id, "cr_old%d", i);
		note(w, i % 3 ? "completed" : "refunded", id, i % 2 ? ",\"duration_s\":1" : "");
		notepay_poll(&w->np);
		pass(w, 1100, 0);
		notepay_poll(&w->np);
	}
	check(w->started > 20 && w->queued == 0 && w->np.phase == 0, "the other credits are not over");
	w->started = w->answered = 0;
	w->on_ms = 0;
	return w;
}

/* run_cuts cuts the power at each event in turn, until the credit is over before the cut. */
static void run_cuts(const kind *k, const setting *s, tally *t)
{
	world *used = used_world(7), *w = malloc(sizeof *w);
	for (long cut = 1; failures <= 20; cut++) {
		char what[160];
		memcpy(w, used, sizeof *w);
		w->np.port = &w->port;
		w->np.machine = &w->machine;
		w->port.context = w->machine.context = w;
		w->random += (uint32_t)cut * 977;
		w->machine.unsure = s->unsure;
		w->torn = s->torn;
		w->late_s = s->late_s;
		w->cut_in = cut;
		w->more_cuts = s->more_cuts;
		note(w, "completed", "cr_a", k->more);
		snprintf(what, sizeof what, "%s, unsure %d, torn %d, dark %u s, late %u s, %d more, cut %ld", k->name,
		         s->unsure, s->torn, s->dark_s, s->late_s, s->more_cuts, cut);
		settle_world(w, 400, s->dark_s);
		if (w->cuts == 0)
			break;
		judge(w, k, s, t, what);
	}
	free(used);
	free(w);
}

static int total;

static void all_cuts(uint8_t unsure)
{
	const uint32_t dark[] = {0, 20, 200}, late[] = {0, 25};
	bool reduced = amount("FIRMWARE_CUTS", 1) == 0;
	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
		tally t;
		memset(&t, 0, sizeof t);
		for (int torn = 0; torn < 3; torn++)
			for (int d = 0; d < 3; d++)
				for (int l = 0; l < 2; l++)
					for (int more = 0; more < 3; more++) {
						setting s = {unsure, torn, dark[d], late[l], more};
						/* A torn byte that is old or 0xff is one of those that are random. */
						if (torn < 2 && (d != 1 || l > 0))
							continue;
						if (reduced ? torn == 2 && more == 1 : more == 0 || (torn == 2 && l == 0))
							run_cuts(&kinds[i], &s, &t);
					}
		total += t.cuts;
		if (unsure == NOTEPAY_UNSURE_FAILED)
			check(t.for_nothing == 0, "%s: %d paid for nothing", kinds[i].name, t.for_nothing);
		if (unsure == NOTEPAY_UNSURE_STARTED)
			check(t.given_away == 0, "%s: %d given away", kinds[i].name, t.given_away);
		if (amount("FIRMWARE_FIGURES", 0))
			printf("  unsure %d, %-7s: %6d cuts, starts %d / %d / %d, given away %d, paid for nothing %d, for the "
			       "operator %d\n",
			       unsure, kinds[i].name, t.cuts, t.starts[0], t.starts[1], t.starts[2], t.given_away, t.for_nothing,
			       t.settled_by_operator);
	}
}

static void test_failed(void)
{
	all_cuts(NOTEPAY_UNSURE_FAILED);
}

static void test_started(void)
{
	all_cuts(NOTEPAY_UNSURE_STARTED);
}

static void test_again(void)
{
	all_cuts(NOTEPAY_UNSURE_AGAIN);
}

static void test_enough(void)
{
	check(total >= 10000 || amount("FIRMWARE_CUTS", 1) == 0, "%d cuts; want 10,000", total);
}

const test cut_tests[] = {
	{"cut, unsure is failed", test_failed},
	{"cut, unsure is started", test_started},
	{"cut, unsure is again", test_again},
	{"cut, at least 10,000 of them", test_enough},
	{NULL, NULL},
};
