/* port_test.cpp: NotepayArduino.h with a Notecard library of ours, which waits as Blues' does.
 *
 * Copyright (c) 2026 the notepay authors
 * SPDX-License-Identifier: MIT
 */
#define NOTEPAY_OWN_STORAGE

#include <stdio.h>
#include <string>
#include <vector>

#include "notepay.h"

static uint8_t storage[64 * NOTEPAY_SLOT];
static const uint8_t npSlots = 64;

static bool npLoad(void *, uint16_t at, void *to, uint8_t n);
static bool npSave(void *, uint16_t at, const void *from, uint8_t n);

#define NOTEPAY_WATCHDOG_BEGIN() (void)watchdog++
#define NOTEPAY_WATCHDOG_RESET() (void)watchdog++
static long watchdog;

#include "NotepayArduino.h"

static bool npLoad(void *, uint16_t at, void *to, uint8_t n)
{
	memcpy(to, storage + at, n);
	return true;
}

static bool npSave(void *, uint16_t at, const void *from, uint8_t n)
{
	memcpy(storage + at, from, n);
	return true;
}

/* The world. */
static uint32_t now_us, timeout_s = 30, off_at;
static bool mute, attn, relay;
static int failures;
static void (*wait)(uint32_t);
static std::vector<std::string> lines, queue;

uint32_t millis() { return now_us / 1000; }
uint32_t micros() { return now_us += 10; }
void delay(uint32_t ms) { now_us += ms * 1000; }
void pinMode(uint8_t, uint8_t) {}
int digitalRead(uint8_t) { return attn; }

void digitalWrite(uint8_t, uint8_t value)
{
	if (relay && !value)
		off_at = millis();
	relay = value;
}

void Notecard::begin() {}

void Notecard::setFn(void *(*)(size_t), void (*)(void *), void (*delay_)(uint32_t), uint32_t (*)())
{
	wait = delay_;
}

uint32_t NoteSetRequestTimeout(uint32_t seconds)
{
	timeout_s = seconds;
	return 30;
}

void NoteFree(void *p) { free(p); }

/* NoteRequestResponseJSON waits in the hook until its timeout, and then returns an error of its own. */
char *NoteRequestResponseJSON(const char *line)
{
	std::string reply = "{\"err\":\"transaction timeout {io}\"}\n";
	lines.push_back(line);
	if (mute) {
		for (uint32_t from = millis(); millis() - from < timeout_s * 1000;)
			wait(50);
		return strdup(reply.c_str());
	}
	wait(50);
	if (strstr(line, "note.get")) {
		reply = queue.empty() ? "{\"err\":\"no notes {note-noexist}\"}\n" : queue[0];
		if (strstr(line, "delete") && !queue.empty())
			queue.erase(queue.begin());
	} else if (strstr(line, "card.time")) {
		reply = "{\"time\":1790000000}\n";
	} else {
		if (strstr(line, "card.attn"))
			attn = false;
		reply = "{}\n";
	}
	return strdup(reply.c_str());
}

static const char *start(void *, const notepay_credit *, uint32_t)
{
	digitalWrite(7, HIGH);
	return NULL;
}

static void stop(void *) { digitalWrite(7, LOW); }

static const notepay_machine machine = {NULL, start, stop, 0, NOTEPAY_UNSURE_FAILED, NULL};

static void check(bool ok, const char *what)
{
	if (!ok) {
		failures++;
		printf("FAIL: %s\n", what);
	}
}

static int count(const char *text)
{
	int n = 0;
	for (const std::string &line : lines)
		n += line.find(text) != std::string::npos;
	return n;
}

static void run(uint32_t ms)
{
	for (uint32_t from = millis(); millis() - from < ms; delay(1))
		npLoop();
}

int main()
{
	Notecard card;
	attn = true;
	check(npBegin(card, NOTEPAY_HUB("product:x"), &machine, 2), "the storage is not ready");
	check(timeout_s == 3 && wait, "the Notecard library waits for longer, or without ticks");
	run(2000);
	check(count("\"inbound\":60,\"outbound\":15") == 1, "hub.set was not sent once");
	check(count("card.attn") == 1 && !attn, "ATTN was not armed once");

	lines.clear();
	run(60000);
	check(count("note.get") == 1 || count("note.get") == 2, "the queue is not read once a minute beside ATTN");

	queue.push_back("{\"body\":{\"payment_status\":\"completed\",\"credit_id\":\"cr_a\",\"duration_s\":10}}\n");
	attn = true;
	lines.clear();
	uint32_t from = millis();
	while (!relay && millis() - from < 5000)
		run(1);
	check(millis() - from <= 500, "it did not start within 500 ms");
	run(2000);
	check(count("delete") == 1 && queue.empty(), "the note was not removed once");
	check(!attn && count("card.attn") == 1, "ATTN was not armed again");

	/* A Notecard that does not answer any more. */
	uint32_t on = from;
	lines.clear();
	mute = attn = true;
	while (relay && millis() - on < 30000)
		run(1);
	check(off_at - on >= 10000 && off_at - on <= 10000 + 500 + 250, "a dead Notecard kept the relay on");
	run(20000);
	int asked = static_cast<int>(lines.size());
	check(asked >= 2 && asked <= 8, "a dead Notecard is not asked every few seconds");
	mute = false;
	lines.clear();
	run(8000);
	check(count("\"done\"") == 1, "the end was not answered when the Notecard was back");

	/* The gap between two pulse trains, and a watchdog that is fed meanwhile. */
	long fed = watchdog;
	from = millis();
	npPulses(5, 2, 50, 100);
	npPulses(5, 1, 50, 100);
	check(millis() - from >= 350 && millis() - from <= 352, "pulses and gaps are not as long as they should be");
	check(watchdog > fed, "the watchdog is not fed during pulses");
	printf("%s: port\n", failures ? "FAIL" : "ok");
	return failures ? 1 : 0;
}
