/* sign_test.c: with NOTEPAY_SIGN, what is not signed by the machine's key starts and stops nothing.
 * sign_test.sh builds it. With arguments it is a tool: a key and a text; it prints their HMAC.
 *
 * Copyright (c) 2026 the notepay authors
 * SPDX-License-Identifier: MIT
 */
#include "notepay_sign.c"

#include "world.h"

static const uint8_t key[32] = {0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa,
                                0xbb, 0xcc, 0xdd, 0xee, 0xff, 0x01, 0x12, 0x23, 0x34, 0x45, 0x56,
                                0x67, 0x78, 0x89, 0x9a, 0xab, 0xbc, 0xcd, 0xde, 0xef, 0xf0};

static void hmac(const uint8_t *k, const char *message, char hex[65])
{
	hash h;
	begin(&h, k, 0x36);
	while (*message)
		put(&h, (uint8_t)*message++);
	outer(&h, k);
	for (int i = 0; i < 8; i++)
		sprintf(hex + 8 * i, "%08lx", (unsigned long)h.state[i]);
}

/* signed_note queues a note whose signature is of message; sig replaces it if it is not NULL. */
static void signed_note(world *w, const char *status, const char *id, const char *more, const char *message,
                        const char *sig)
{
	char hex[65], all[400];
	hmac(key, message, hex);
	hex[32] = 0;
	snprintf(all, sizeof all, "%s,\"sig\":\"%s\"", more, sig ? sig : hex);
	note(w, status, id, all);
}

static world *ready(void)
{
	world *w = new_world(1);
	w->machine.key = key;
	power_on(w);
	return w;
}

static void test_signed(void)
{
	world *w = ready();
	signed_note(w, "completed", "cr_a",
	            ",\"expires\":1790000600,\"duration_s\":60,\"delayed_start_s\":5,\"code\":\"049317\",\"pulses\":3,"
	            "\"output\":1",
	            "v1|cr_a|completed|1790000600|60|5|049317|3|1", NULL);
	notepay_poll(&w->np);
	check(strcmp(answers(w, "cr_a"), "started") == 0, "signed: answered %s", answers(w, "cr_a"));
	signed_note(w, "ended", "cr_a", "", "v1|cr_a|ended|0|0|0||0|0", NULL);
	notepay_poll(&w->np);
	check(strcmp(answers(w, "cr_a"), "started done") == 0, "signed end: answered %s", answers(w, "cr_a"));
	free(w);
}

static void test_not_signed(void)
{
	const char *more = ",\"expires\":1790000600,\"duration_s\":60";
	const struct {
		const char *message, *sig;
	} rows[] = {
		{"v1|cr_a|completed|1790000601|60|0||0|0", NULL},
		{"v1|cr_a|completed|1790000600|61|0||0|0", NULL},
		{"v1|cr_b|completed|1790000600|60|0||0|0", NULL},
		{"v1|cr_a|refunded|1790000600|60|0||0|0", NULL},
		{"v1|cr_a|completed|1790000600|60|0||0|1", NULL},
		{"", ""},
		{"", "0"},
		{"", "00000000000000000000000000000000"},
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		world *w = ready();
		signed_note(w, "completed", "cr_a", more, rows[i].message, rows[i].sig);
		note(w, "completed", "cr_a", more);
		check(settle_world(w, 10, 0), "row %lu: notes are left", (unsigned long)i);
		check(w->started == 0 && w->answered == 0, "row %lu: started %d, answered %d", (unsigned long)i, w->started,
		      w->answered);
		free(w);
	}
}

static void test_stop_not_signed(void)
{
	world *w = ready();
	signed_note(w, "completed", "cr_a", ",\"duration_s\":60", "v1|cr_a|completed|0|60|0||0|0", NULL);
	notepay_poll(&w->np);
	note(w, "ended", "cr_a", "");
	notepay_poll(&w->np);
	check(w->on && w->queued == 0, "an end that is not signed stopped the machine");
	w->machine.key = NULL;
	signed_note(w, "completed", "cr_b", "", "v1|cr_b|completed|0|0|0||0|0", NULL);
	notepay_poll(&w->np);
	check(starts(w, "cr_b") == 0, "started without a key");
	free(w);
}

/* test_vectors reads notes that the bridge made: a key, whether it signed the note, and the body. */
static void test_vectors(void)
{
	char line[1000];
	int n = 0;
	FILE *file = fopen("vectors.txt", "r");
	if (!file) {
		check(false, "vectors.txt is missing");
		return;
	}
	for (; fgets(line, sizeof line, file); n++) {
		char *body = strchr(line, '{');
		bool valid = strstr(line, " signed ") != NULL;
		uint8_t given[32];
		world *w = ready();
		for (size_t i = 0; i < 32; i++) {
			unsigned byte;
			check(sscanf(line + 2 * i, "%2x", &byte) == 1, "vector %d has no key", n);
			given[i] = (uint8_t)byte;
		}
		if (body == NULL || !(valid || strstr(line, " forged "))) {
			check(false, "vector %d cannot be read", n);
			break;
		}
		body[strcspn(body, "\n")] = 0;
		w->machine.key = given;
		snprintf(w->queue[w->queued++], sizeof w->queue[0], "{\"body\":%s,\"time\":%lu}", body,
		         (unsigned long)unix_now(w));
		for (int i = 0; i < 3; i++)
			notepay_poll(&w->np);
		check(w->queued == 0, "vector %d: notes are left", n);
		check((w->saved > 0) == valid, "vector %d: %lu bytes saved: %s", n, (unsigned long)w->saved, line);
		check(valid || (w->started == 0 && w->answered == 0), "vector %d started or answered: %s", n, line);
		check(!valid || !strstr(body, "completed") || strcmp(w->answers[0].state, "started") == 0,
		      "vector %d was answered %s: %s", n, w->answers[0].state, line);
		free(w);
	}
	check(n >= 20, "only %d vectors", n);
	fclose(file);
}

int main(int argc, char **argv)
{
	if (argc == 3) {
		uint8_t given[32];
		char hex[65];
		for (size_t i = 0; i < 32; i++) {
			unsigned byte;
			if (sscanf(argv[1] + 2 * i, "%2x", &byte) != 1)
				return 2;
			given[i] = (uint8_t)byte;
		}
		hmac(given, argv[2], hex);
		printf("%s\n", hex);
		return 0;
	}
	test_signed();
	test_not_signed();
	test_stop_not_signed();
	test_vectors();
	printf("%s: sign\n", failures ? "FAIL" : "ok");
	return failures ? 1 : 0;
}
