/* main.c runs the tests whose names begin with an argument; without arguments all of them.
 *
 * Copyright (c) 2026 the notepay authors
 * SPDX-License-Identifier: MIT
 */
#include "tests.h"

long amount(const char *variable, long usual)
{
	const char *value = getenv(variable);
	return value ? atol(value) : usual;
}

static bool wanted(const char *name, int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (strncmp(name, argv[i], strlen(argv[i])) == 0)
			return true;
	return argc == 1;
}

int main(int argc, char **argv)
{
	const test *lists[] = {decide_tests, order_tests, time_tests, line_tests, cut_tests, history_tests, vector_tests};
	int run = 0, failed = 0;
	for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
		for (const test *t = lists[i]; t->name; t++) {
			int before = failures;
			if (!wanted(t->name, argc, argv))
				continue;
			t->run();
			run++;
			if (failures > before) {
				failed++;
				printf("FAIL %s\n", t->name);
				if (amount("FIRMWARE_STOP", 0))
					return 1;
			}
		}
	}
	if (run == 0) {
		printf("no test has this name\n");
		return 2;
	}
	printf("%s: %d tests, %d failed\n", failed ? "FAIL" : "ok", run, failed);
	return failed ? 1 : 0;
}
