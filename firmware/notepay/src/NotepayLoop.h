/* NotepayLoop.h: when the queue is read, for all ports. A sketch includes NotepayArduino.h or
 * NotepaySerial.h instead.
 *
 * Copyright (c) 2026 the notepay authors
 * SPDX-License-Identifier: MIT
 */
#ifndef NOTEPAY_LOOP_H
#define NOTEPAY_LOOP_H

#include <Arduino.h>

#include "NotepayStorage.h"
#include "notepay.h"

#if defined(__AVR__)
#include <avr/wdt.h>
#endif

/* NOTEPAY_POLL_MS is how often the queue is read if nothing says that there is something. */
#ifndef NOTEPAY_POLL_MS
#define NOTEPAY_POLL_MS 60000UL
#endif

/* NOTEPAY_ATTN makes ATTN go HIGH when a note comes. */
#define NOTEPAY_ATTN "{\"req\":\"card.attn\",\"mode\":\"arm,files\",\"files\":[\"" NOTEPAY_NOTE_FILE "\"]"

/* NOTEPAY_NO_ATTN is for boards whose ATTN is not connected. They read every 2 s. */
static const uint8_t NOTEPAY_NO_ATTN = 255;

static notepay npState;

static struct {
	const char *hub;
	uint32_t polled, wait; /* when the queue was read, and how long it may rest */
	uint8_t attn;
	bool hub_set, armed, running;
} np_;

#if defined(__AVR__)
/* npWatchdogOff runs before main: after a reset by the watchdog, it would bite again in setup. */
static void npWatchdogOff(void) __attribute__((naked, used, section(".init3")));
static void npWatchdogOff(void)
{
	MCUSR = 0;
	wdt_disable();
}
#endif

/* npWatchdog says that the sketch is alive. A sketch that hangs is reset, with its outputs off. */
static inline void npWatchdog(void)
{
#if defined(__AVR__)
	wdt_reset();
#elif defined(ARDUINO_ARCH_ESP32)
	feedLoopWDT();
#elif defined(NOTEPAY_WATCHDOG_RESET)
	NOTEPAY_WATCHDOG_RESET();
#endif
}

/* npTick stops what has run its time. The ports call it while they wait. */
static inline void npTick(void)
{
	npWatchdog();
	notepay_tick(&npState);
}

static uint32_t npMillis(void *)
{
	return millis();
}

/* npStart is what the ports' npBegin has in common. */
static bool npStart(const notepay_port *port, const notepay_machine *machine, const char *hub, uint8_t attn)
{
	np_.hub = hub;
	np_.attn = attn;
	if (attn != NOTEPAY_NO_ATTN)
		pinMode(attn, INPUT);
#if defined(__AVR__)
	wdt_enable(WDTO_8S);
#elif defined(ARDUINO_ARCH_ESP32)
	enableLoopWDT();
#elif defined(NOTEPAY_WATCHDOG_BEGIN)
	NOTEPAY_WATCHDOG_BEGIN();
#endif
	return notepay_begin(&npState, port, machine);
}

/* npLoop does all that is due. Call it from loop, which does not wait for anything else. */
static void npLoop(void)
{
	notepay_result result;
	bool running, fired;

	npTick();
	running = notepay_running(&npState) > 0;
	if (np_.running && !running)
		np_.wait = 0; /* its end is answered now */
	np_.running = running;
	/* ATTN is read as a level, because it stays HIGH until it is armed again. */
	fired = np_.attn != NOTEPAY_NO_ATTN && digitalRead(np_.attn) == HIGH;
	if (millis() - np_.polled < np_.wait && !(fired && np_.armed))
		return;
	if (!np_.hub_set)
		np_.hub_set = notepay_request(&npState, np_.hub);
	result = notepay_poll(&npState);
	/* It is armed after it fired, and then the queue is read again, for what came in between. */
	if (fired) {
		np_.armed = result != NOTEPAY_WAIT && notepay_request(&npState, NOTEPAY_ATTN);
		result = np_.armed ? NOTEPAY_MORE : NOTEPAY_WAIT;
	}
	np_.polled = millis();
	if (notepay_running(&npState) > 0)
		np_.running = true; /* if it has ended meanwhile, the next call sees it */
	np_.wait = result == NOTEPAY_MORE ? 0 : result == NOTEPAY_WAIT ? 5000 : NOTEPAY_POLL_MS;
	if (result == NOTEPAY_IDLE && np_.attn == NOTEPAY_NO_ATTN)
		np_.wait = 2000;
}

static inline void npHold(uint32_t from, uint16_t ms)
{
	while (micros() - from < ms * 1000UL)
		npWatchdog();
}

/* npPulses gives pulses to a coin input. It returns with the end of the last one, because the
 * start is marked then; the gap after it is kept before the next. */
static inline void npPulses(uint8_t pin, uint32_t pulses, uint16_t width_ms, uint16_t gap_ms)
{
	static uint32_t last, any;
	for (; pulses > 0; pulses--) {
		if (any)
			npHold(last, gap_ms);
		digitalWrite(pin, HIGH);
		npHold(micros(), width_ms);
		digitalWrite(pin, LOW);
		last = micros();
		any = 1;
	}
}

#endif
