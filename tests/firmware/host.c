/* host.c: the firmware as a program of this computer.
 *
 * Copyright (c) 2026 the notepay authors
 * SPDX-License-Identifier: MIT
 *
 * "host FILE" is a board in real time. Its Notecard is on standard input and output, its records are in
 * FILE, and what the machine does is on standard error. With socat it is a board at the demo:
 *
 *   socat EXEC:"./host records" TCP:127.0.0.1:3011
 *
 * "host" is led by a test, step by step. Each line that it writes is answered by one line, which
 * begins with the millis of the board:
 *
 *   storage            all records, in hex
 *   ready 1            what to do next: hub, poll, tick, or end and a code; an empty line ends the program
 *   {"req":...}        the reply, an empty one for none, or ~ while the Notecard thinks
 *   save 33 a5         one byte is saved, or the test has killed the program
 *   refuse cr_a        a code, or nothing
 *   start cr_a 60 4 2  a code, or nothing; the numbers are seconds, pulses and the output
 *   stop               nothing
 *   done 0 60          as after ready; the numbers are the result and the seconds left
 */
#define _POSIX_C_SOURCE 200809L
#include "notepay.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static notepay np;
static uint8_t records[NOTEPAY_MIN_SLOTS * NOTEPAY_SLOT];
static bool led;          /* by a test */
static uint32_t led_ms;   /* what millis says then */
static char given[70000]; /* the answer of the test */
static int file = -1;

/* told writes what was put on standard output and reads the answer of the test. */
static const char *told(void)
{
	char *rest;
	putchar('\n');
	fflush(stdout);
	if (!fgets(given, sizeof given, stdin))
		exit(0);
	given[strcspn(given, "\n")] = 0;
	led_ms = (uint32_t)strtoul(given, &rest, 10);
	return *rest == ' ' ? rest + 1 : rest;
}

static uint32_t host_millis(void *context)
{
	struct timespec now;
	(void)context;
	if (led)
		return led_ms;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint32_t)((uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000);
}

/* spoken makes one attempt with the Notecard of the test. */
static size_t spoken(char *line, size_t length, size_t size)
{
	const char *reply;
	size_t n;
	printf("%.*s", (int)(length - 1), line);
	for (reply = told(); strcmp(reply, "~") == 0; reply = told()) {
		notepay_tick(&np);
		printf("wait");
	}
	n = strlen(reply);
	memcpy(line, reply, n < size ? n : size);
	return n;
}

/* awaited reads a byte within ms, with ticks. It returns -1 if none comes. The end of the input
 * ends the program. */
static int awaited(uint32_t ms)
{
	uint32_t from = host_millis(NULL);
	struct pollfd input = {0, POLLIN, 0};
	char c;
	while (host_millis(NULL) - from < ms) {
		notepay_tick(&np);
		if (poll(&input, 1, 10) <= 0)
			continue;
		if (read(0, &c, 1) != 1)
			exit(0);
		return (unsigned char)c;
	}
	return -1;
}

static size_t transact(void *context, char *line, size_t length, size_t size)
{
	size_t n = 0;
	int c;
	(void)context;
	if (led)
		return spoken(line, length, size);
	for (size_t sent = 0; sent < length;) {
		ssize_t wrote = write(1, line + sent, length - sent);
		if (wrote < 0)
			exit(errno == EPIPE ? 0 : 1);
		sent += (size_t)wrote;
	}
	while ((c = awaited(n ? 1000 : 3000)) >= 0) {
		if (c == '\n' && n > 0)
			return n;
		if (n == 0 && c <= ' ')
			continue;
		if (n < size)
			line[n] = (char)c;
		n++;
	}
	return 0;
}

static bool load(void *context, uint16_t at, void *to, uint8_t n)
{
	(void)context;
	memcpy(to, records + at, n);
	return true;
}

static bool save(void *context, uint16_t at, const void *from, uint8_t n)
{
	(void)context;
	for (uint8_t i = 0; i < n; i++) {
		uint8_t byte = ((const uint8_t *)from)[i];
		records[at + i] = byte;
		if (led) {
			printf("save %d %02x", at + i, byte);
			told();
		} else if (pwrite(file, &byte, 1, at + i) != 1) {
			return false;
		}
	}
	return led || fsync(file) == 0;
}

/* code keeps what the test has answered: NULL for nothing. */
static const char *code(const char *answer)
{
	static char kept[32];
	if (*answer == 0)
		return NULL;
	if (strcmp(answer, notepay_busy) == 0)
		return notepay_busy;
	snprintf(kept, sizeof kept, "%.30s", answer);
	return kept;
}

static const char *refuse(void *context, const notepay_credit *credit)
{
	(void)context;
	if (!led)
		return NULL;
	printf("refuse %s", credit->id);
	return code(told());
}

static const char *start(void *context, const notepay_credit *credit, uint32_t seconds)
{
	(void)context;
	if (!led) {
		fprintf(stderr, "start %s for %lu s\n", credit->id, (unsigned long)seconds);
		return NULL;
	}
	printf("start %s %lu %lu %d", credit->id, (unsigned long)seconds, (unsigned long)credit->pulses, credit->output);
	return code(told());
}

static void stop(void *context)
{
	(void)context;
	if (led) {
		printf("stop");
		told();
	} else {
		fprintf(stderr, "off\n");
	}
}

static const notepay_port port = {transact, load, save, host_millis, NULL, NOTEPAY_MIN_SLOTS};
#ifdef NOTEPAY_SIGN
static uint8_t key[32]; /* NOTEPAY_KEY in hex, as notepay device-key prints it */
static const notepay_machine machine = {refuse, start, stop, 0, NOTEPAY_UNSURE_FAILED, NULL, key};
#else
static const notepay_machine machine = {refuse, start, stop, 0, NOTEPAY_UNSURE_FAILED, NULL};
#endif

/* follow does what a test orders. */
static int follow(void)
{
	const char *order;
	unsigned int byte;
	int result = 0;
	led = true;
	printf("storage");
	order = told();
	for (size_t i = 0; i < sizeof records && sscanf(order + 2 * i, "%2x", &byte) == 1; i++)
		records[i] = (uint8_t)byte;
	printf("ready %d", notepay_begin(&np, &port, &machine));
	for (order = told(); *order; order = told()) {
		if (strcmp(order, "poll") == 0)
			result = notepay_poll(&np);
		else if (strcmp(order, "tick") == 0)
			notepay_tick(&np);
		else if (strcmp(order, "hub") == 0)
			result = notepay_request(&np, NOTEPAY_HUB("product:com.your-company:washers"));
		else if (strncmp(order, "end", 3) == 0)
			notepay_end(&np, order[3] ? order + 4 : NULL);
		else
			return 2;
		printf("done %d %lu", result, (unsigned long)notepay_running(&np));
	}
	return 0;
}

/* run is a board without ATTN, as NotepayLoop.h reads the queue. */
static int run(void)
{
	bool hub_set = false;
	if (!notepay_begin(&np, &port, &machine))
		return 1;
	for (;;) {
		uint32_t from = host_millis(NULL), wait = 2000;
		bool running;
		notepay_result result;
		struct timespec moment = {0, 10 * 1000 * 1000};
		if (!hub_set)
			hub_set = notepay_request(&np, NOTEPAY_HUB("product:com.your-company:washers"));
		result = notepay_poll(&np);
		running = notepay_running(&np) > 0;
		if (result == NOTEPAY_MORE)
			wait = 0;
		while (host_millis(NULL) - from < wait) {
			notepay_tick(&np);
			if (running && notepay_running(&np) == 0)
				break; /* its end is answered now */
			nanosleep(&moment, NULL);
		}
	}
}

int main(int argc, char **argv)
{
#ifdef NOTEPAY_SIGN
	const char *hex = getenv("NOTEPAY_KEY");
	unsigned int byte;
	for (size_t i = 0; i < sizeof key; i++) {
		if (!hex || sscanf(hex + 2 * i, "%2x", &byte) != 1)
			return 2;
		key[i] = (uint8_t)byte;
	}
#endif
	if (argc == 1)
		return follow();
	file = open(argv[1], O_RDWR | O_CREAT, 0600);
	memset(records, 0xff, sizeof records);
	if (file < 0 || pread(file, records, sizeof records, 0) < 0) {
		perror(argv[1]);
		return 1;
	}
	return run();
}
