/* tests.h: the list of tests.
 *
 * Copyright (c) 2026 the notepay authors
 * SPDX-License-Identifier: MIT
 */
#ifndef TESTS_H
#define TESTS_H

#include "world.h"

typedef struct {
	const char *name;
	void (*run)(void);
} test;

/* Each list ends with a test without a name. */
extern const test decide_tests[], order_tests[], time_tests[], cut_tests[], history_tests[], line_tests[], vector_tests[];

/* amount returns the number that the environment variable gives, or usual. */
long amount(const char *variable, long usual);

#endif
