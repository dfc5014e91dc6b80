/* vectors_test.c: the steps of vectors.jsonl, which the sandbox's machine runs too (internal/sandbox).
 *
 * Copyright (c) 2026 the notepay authors
 * SPDX-License-Identifier: MIT
 *
 * Each line is one step: a scenario begins, a note comes, seconds pass, the machine refuses from now
 * on, the power fails for a moment, or answers and starts are compared.
 */
#include "tests.h"

/* step copies the text or number of a line such as {"pass":60} and reports whether it is this step. */
static bool step(const char *line, const char *name, char *to, size_t size)
{
	char begin[40];
	size_t n;
	snprintf(begin, sizeof begin, "{\"%s\":", name);
	if (strncmp(line, begin, strlen(begin)) != 0)
		return false;
	line += strlen(begin);
	n = strlen(line) - 1; /* without the closing brace */
	if (*line == '"') {
		line++;
		n = (size_t)(strchr(line, '"') - line);
	}
	check(n < size, "too long: %s", line);
	memcpy(to, line, n);
	to[n] = 0;
	return true;
}

/* compare checks the answers and, if the line has them, the starts. */
static void compare(const world *w, const char *scenario, const char *want, const char *line)
{
	static char said[8000], started[8000];
	const char *starts = strstr(line, ",\"started\":\"");
	said[0] = started[0] = 0;
	for (int i = 0; i < w->answered; i++) {
		const answer *a = &w->answers[i];
		snprintf(said + strlen(said), sizeof said - strlen(said), "%s%s %s%s%s", i ? ", " : "", a->id, a->state,
		         a->code[0] ? " " : "", a->code);
	}
	for (int i = 0; i < w->started; i++) {
		snprintf(started + strlen(started), sizeof started - strlen(started), "%s%s", i ? ", " : "",
		         w->starts[i].id);
		if (w->starts[i].pulses || w->starts[i].output)
			snprintf(started + strlen(started), sizeof started - strlen(started), " %u %u",
			         (unsigned)w->starts[i].pulses, (unsigned)w->starts[i].output);
	}
	check(strcmp(said, want) == 0, "%s: answered \"%s\"; want \"%s\"", scenario, said, want);
	if (starts) {
		size_t n = strlen(started);
		starts += strlen(",\"started\":\"");
		check(strncmp(starts, started, n) == 0 && starts[n] == '"', "%s: started \"%s\"; want \"%s", scenario,
		      started, starts);
	}
}

static void test_vectors(void)
{
	static char line[4000], text[4000], scenario[200], refusal[40];
	const char *file = getenv("FIRMWARE_VECTORS");
	FILE *f = fopen(file ? file : "vectors.jsonl", "r");
	world *w = NULL;
	int compared = 0;
	check(f != NULL, "vectors.jsonl cannot be read");
	while (f && fgets(line, sizeof line, f)) {
		line[strcspn(line, "\n")] = 0;
		if (step(line, "scenario", scenario, sizeof scenario)) {
			free(w);
			w = new_world(1);
			w->epoch = 946684800; /* where Go's fake time begins */
			w->reply_ms = 0;
			w->pulse_ms = 0;
			power_on(w);
		} else if (step(line, "note", text, sizeof text)) {
			snprintf(w->queue[w->queued++], sizeof w->queue[0], "{\"body\":%.740s,\"time\":%lu}", text,
			         (unsigned long)unix_now(w));
		} else if (step(line, "pass", text, sizeof text)) {
			pass(w, strtoul(text, NULL, 10) * 1000, 1);
		} else if (step(line, "refuse", refusal, sizeof refusal)) {
			w->refusal = refusal[0] == 0 ? NULL : strcmp(refusal, "busy") == 0 ? notepay_busy : refusal;
		} else if (step(line, "restart", text, sizeof text)) {
			if (w->on)
				w->on = false; /* a power cut switches it off */
			power_on(w);
		} else if (step(line, "want", text, sizeof text)) {
			compare(w, scenario, text, line);
			compared++;
		} else {
			check(false, "no step: %s", line);
		}
	}
	check(compared >= 25, "compared %d times; want at least 25", compared);
	free(w);
	if (f)
		fclose(f);
}

const test vector_tests[] = {
	{"vectors, the sandbox answers the same", test_vectors},
	{NULL, NULL},
};
