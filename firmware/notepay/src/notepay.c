/* notepay.c: one start for each paid credit, on the host of a Blues Notecard.
 *
 * Copyright (c) 2026 the notepay authors
 * SPDX-License-Identifier: MIT
 *
 * The order is: outputs off, peek, decide, record, act, mark, confirm, pop, peek again. A pop is
 * never repeated by itself, because a second pop would remove a note that was never read.
 */
#include "notepay.h"
#include "notepay_line.h"
#ifdef NOTEPAY_SIGN
#include "notepay_sign.h"
#endif

#include <string.h>

enum { ID_SIZE = 12, CODE_SIZE = 11, NO_PIN = 0xff, NO_SLOT = 0xff };

typedef notepay_record record;

typedef char record_is_a_slot[sizeof(record) == NOTEPAY_SLOT ? 1 : -1];

/* A FAILED record begins with its code instead, up to 10 characters and a NUL. BROKEN is FAILED of
 * a timed credit that was recorded as TIMED before. */
enum { TAKEN = 1, TIMED, EXPIRED, BUSY, FAILED, BROKEN };

/* RAN: start has returned. ENDED: the end of a timed credit was answered. */
enum { RAN, ENDED };

/* The phases of a timed credit. */
enum { NONE, RESUME, DELAY, ON, OVER };

/* SLACK_S is how far two readings of a clock that is right may differ. */
enum { SLACK_S = 5, NEAR_S = 30, MAX_AGE_S = 900, MAX_NOTES = 8 };

const char notepay_busy[] = "busy";

/* --- time --- */

static uint32_t millis(const notepay *np)
{
	return np->port->millis(np->port->context);
}

/* advance counts the seconds that have passed. They begin when a phase does, so that it ends to
 * the millisecond. The Notecard's time may therefore be a second ahead. */
static void advance(notepay *np)
{
	while (millis(np) - np->ms >= 1000) {
		np->ms += 1000;
		np->age++;
		if (np->time > 0)
			np->time++;
		if (np->left > 0)
			np->left--;
	}
}

/* know_time sets np->time and reports whether it could. It asks the Notecard if the last reading
 * is old, or if a second could matter because the time until is near or over. */
static bool know_time(notepay *np, uint32_t until)
{
	advance(np);
	if (np->time && np->age < MAX_AGE_S && (until == 0 || np->time + NEAR_S < until))
		return true;
	if (ask(np, "{\"req\":\"card.time\"") != SURE)
		return false;
	np->time = number(np->line, "time"); /* 0: it has not synced yet */
	np->age = 0;
	return np->time != 0;
}

/* --- records --- */

/* unpack writes the credit id that pack has read. */
static void unpack(const uint8_t *from, char *to)
{
	memset(to, 0, 20);
	memcpy(to, "cr_", 3);
	for (uint8_t i = 0; i < 16; i++) {
		const uint8_t *three = from + i / 4 * 3;
		uint32_t bits = (uint32_t)three[0] << 16 | (uint32_t)three[1] << 8 | three[2];
		uint8_t v = (uint8_t)(bits >> (18 - i % 4 * 6) & 63);
		if (v > 0)
			to[i + 3] = (char)(v < 11 ? v + '0' - 1 : v + '_' - 11);
	}
}

/* pack writes the credit id as 16 characters of 6 bits: 0 for none, then 0-9, then _ to z. It
 * reports whether the id is one: cr_ and up to 16 small letters and digits. */
static bool pack(const char *id, uint8_t *to)
{
	uint32_t bits = 0;
	char back[20];
	for (uint8_t i = 3; i < 19; i++) {
		bits = bits << 6 | (id[i] == 0 ? 0 : (id[i] < '_' ? id[i] - '0' + 1 : id[i] - '_' + 11) & 63);
		if (i % 4 == 2) {
			*to++ = (uint8_t)(bits >> 16);
			*to++ = (uint8_t)(bits >> 8);
			*to++ = (uint8_t)bits;
		}
	}
	unpack(to - ID_SIZE, back);
	return strcmp(id, back) == 0;
}

/* load_record reports whether the record in slot is whole. */
static bool load_record(const notepay *np, uint8_t slot, record *r)
{
	return np->port->load(np->port->context, (uint16_t)(slot * NOTEPAY_SLOT), r, NOTEPAY_SLOT) &&
	       checksum(r, offsetof(record, marks)) == r->sum;
}

/* save writes n bytes of the record in slot, from the byte at on. */
static bool save(const notepay *np, uint8_t slot, const record *r, uint8_t at, uint8_t n)
{
	return np->port->save(np->port->context, (uint16_t)(slot * NOTEPAY_SLOT + at), (const uint8_t *)r + at, n);
}

/* mark_value returns the one value with which a mark of this record counts. */
static uint8_t mark_value(const record *r, uint8_t mark)
{
	return (uint8_t)(r->sum >> mark ^ 0x5a);
}

static bool marked(const record *r, uint8_t mark)
{
	return r->marks[mark] == mark_value(r, mark);
}

/* set writes a mark. If the power fails meanwhile, the mark is there or it is not. Storage that
 * does not hold it ends all sales. */
static void set(notepay *np, uint8_t slot, record *r, uint8_t mark)
{
	r->marks[mark] = mark_value(r, mark);
	np->ready = save(np, slot, r, (uint8_t)(offsetof(record, marks) + mark), 1);
}

/* lookup loads the newest record of a credit; if id is NULL, of any timed one. It returns its slot,
 * or NO_SLOT. */
static uint8_t lookup(const notepay *np, const uint8_t *id, record *r)
{
	uint8_t slot = np->newest;
	for (uint8_t i = 0; i < np->port->slots; i++) {
		if (load_record(np, slot, r) &&
		    (id ? memcmp(r->id, id, ID_SIZE) == 0 : r->kind == TIMED || r->kind == BROKEN))
			return slot;
		slot = (uint8_t)((slot ? slot : np->port->slots) - 1);
	}
	return NO_SLOT;
}

/* append writes a record into the oldest slot, but never over the timed credit, and reads it
 * back. If the power fails meanwhile, the record is not there. Storage that does not hold what
 * was written makes nothing start. */
static bool append(notepay *np, record *r)
{
	record back;
	uint8_t slot = np->newest;
	do
		slot = (uint8_t)(slot + 1 < np->port->slots ? slot + 1 : 0);
	while (np->phase != NONE && slot == np->run);
	r->sequence = (uint16_t)(np->top + 1);
	r->sum = checksum(r, offsetof(record, marks));
	r->marks[RAN] = (uint8_t)~mark_value(r, RAN);
	r->marks[ENDED] = (uint8_t)~mark_value(r, ENDED);
	if (!save(np, slot, r, 0, NOTEPAY_SLOT) || !load_record(np, slot, &back) || back.sum != r->sum)
		return false;
	np->newest = slot;
	np->top++;
	return true;
}

/* fail records that a credit did not start, or failed after it did. */
static bool fail(notepay *np, record *r, const char *code)
{
	char *to = (char *)r;
	bool kept;
	strncpy(to, code, CODE_SIZE);
	to[CODE_SIZE - 1] = 0;
	r->kind = r == &np->current ? BROKEN : FAILED;
	kept = append(np, r);
	if (r == &np->current) {
		np->phase = OVER; /* also if it was not kept: then it comes up again after a reset */
		if (kept)
			np->run = np->newest;
	}
	return kept;
}

/* --- answers --- */

/* tell answers with what the record says, and reports whether the Notecard has the answer. A
 * Notecard whose storage is full has not: the note stays, and is answered later. */
static bool tell(notepay *np, const record *r, bool over)
{
	static const char prefix[] =
		"{\"req\":\"note.add\",\"file\":\"" NOTEPAY_ACK_FILE "\",\"sync\":true,\"body\":{\"credit_id\":\"";
	const char *state = "failed", *code = "";
	char id[20];

	if (r->kind == EXPIRED) {
		state = "expired";
	} else if (r->kind == BUSY) {
		state = notepay_busy;
	} else if (r->kind >= FAILED) {
		code = (const char *)r;
	} else {
		bool timed = r->kind == TIMED;
		over = timed && (over || marked(r, ENDED));
		if ((timed && !over) || marked(r, RAN) || np->machine->unsure == NOTEPAY_UNSURE_STARTED)
			state = over ? "done" : "started";
		else
			code = "E-POWR";
	}
	unpack(r->id, id);
	np->length = 0;
	put(np, prefix);
	put(np, id);
	put(np, "\",\"state\":\"");
	put(np, state);
	put(np, "\",\"code\":\"");
	put(np, code);
	put(np, "\"}");
	return accepted(np);
}

/* settle answers the end of the timed credit, and then marks it. If the power fails in between,
 * it is answered again. */
static bool settle(notepay *np)
{
	if (!tell(np, &np->current, true))
		return false;
	set(np, np->run, &np->current, ENDED);
	np->phase = NONE;
	return true;
}

/* --- what the machine does --- */

static uint32_t max_run(const notepay *np)
{
	return np->machine->max_run_s ? np->machine->max_run_s : NOTEPAY_MAX_RUN_S;
}

static void stop(const notepay *np)
{
	np->machine->stop(np->machine->context);
}

static void enter(notepay *np, uint8_t phase, uint32_t left)
{
	np->phase = phase;
	np->left = left;
	np->ms = millis(np);
	np->age = MAX_AGE_S;
}

/* act starts np->credit, whose record is r, and marks it or records the failure. */
static void act(notepay *np, record *r, uint32_t left)
{
	const char *code;
	uint8_t slot = np->newest;
	if (r == &np->current) {
		slot = np->run;
		enter(np, ON, left);
	}
	code = np->machine->start(np->machine->context, &np->credit, left);
	if (!code) {
		set(np, slot, r, RAN);
		return;
	}
	stop(np);
	fail(np, r, code);
}

/* duration returns how long a timed credit runs. */
static uint32_t duration(const record *r)
{
	return (uint32_t)r->duration_high << 16 | r->duration;
}

/* go starts the timed credit from its record: for left seconds, or for all its time if left is 0. */
static void go(notepay *np, uint32_t left)
{
	const record *r = &np->current;
	notepay_credit *c = &np->credit;
	memset(c, 0, sizeof *c);
	unpack(r->id, c->id);
	c->duration_s = duration(r);
	c->output = r->output;
	for (uint8_t i = 0; i < 6 && r->pin[0] != NO_PIN; i++)
		c->code[i] = (char)('0' + ((i & 1) ? r->pin[i / 2] & 15 : r->pin[i / 2] >> 4));
	act(np, &np->current, left && left < c->duration_s ? left : c->duration_s);
}

/* over ends the timed credit as one that did run. */
static void over(notepay *np)
{
	if (np->phase == ON)
		stop(np);
	np->phase = OVER;
	np->current.marks[RAN] = mark_value(&np->current, RAN);
}

/* resume goes on with a timed credit after a power cut: by the wall clock, as the bridge counts.
 * It reports false as long as the time is not known. Nothing is on meanwhile. */
static bool resume(notepay *np)
{
	record *r = &np->current;
	bool ran = marked(r, RAN);
	uint32_t now, begin = r->until - duration(r);
	const char *failure = NULL;

	if (!know_time(np, 0))
		return false;
	now = np->time + 2; /* the reading is the second that has begun, as until was: never run for too long */
	if (now >= r->until) {
		if (ran || np->machine->unsure == NOTEPAY_UNSURE_STARTED) {
			over(np);
			return true;
		}
		if (np->machine->unsure != NOTEPAY_UNSURE_AGAIN)
			failure = "E-POWR";
		now = begin;
	} else if (now + SLACK_S < begin && (ran || begin - now > max_run(np))) {
		failure = "E-TIME"; /* the clock went back: how long it ran cannot be known */
	}
	if (failure) {
		fail(np, r, failure);
		return true;
	}
	if (np->time < begin && !ran)
		enter(np, DELAY, begin - np->time); /* never before its time: it runs to the same end */
	else
		go(np, r->until - now);
	return true;
}

/* --- notes --- */

/* understand reads the credit of a note. */
static void understand(const char *body, notepay_credit *c)
{
	uint32_t output = number(body, "output");
	memset(c, 0, sizeof *c);
	text(body, "credit_id", c->id, sizeof c->id);
	text(body, "code", c->code, sizeof c->code);
	c->expires = number(body, "expires");
	c->duration_s = number(body, "duration_s");
	c->delayed_start_s = number(body, "delayed_start_s");
	c->pulses = number(body, "pulses");
	c->output = output > 255 ? 255 : (uint8_t)output;
	for (uint8_t i = 0; i < 6; i++)
		if (c->code[i] < '0' || c->code[i] > '9')
			c->code[0] = 0;
}

/* prepare fills the record of a new credit. */
static void prepare(record *r, const uint8_t *id, const notepay_credit *c)
{
	memset(r, 0, sizeof *r);
	memcpy(r->id, id, ID_SIZE);
	r->duration = (uint16_t)c->duration_s;
	r->duration_high = (uint8_t)(c->duration_s >> 16);
	r->output = c->output;
	r->pin[0] = NO_PIN;
	for (uint8_t i = 0; i < 6 && c->code[0]; i++)
		r->pin[i / 2] = (uint8_t)(r->pin[i / 2] << 4 | (c->code[i] - '0'));
}

/* take decides on the new np->credit, records the decision and acts on it. It reports false if the
 * credit has to wait, for the time or for the storage. */
static bool take(notepay *np, record *r)
{
	const notepay_credit *c = &np->credit;
	const char *code = NULL;
	if ((c->expires || c->duration_s) && !know_time(np, c->expires))
		return false;
	if (c->expires && np->time > c->expires) {
		r->kind = EXPIRED;
		r->until = c->expires;
		return append(np, r);
	}
	if (c->duration_s > max_run(np) || c->delayed_start_s > max_run(np) || c->expires == MAX_NUMBER)
		code = "E-TIME";
	else if (np->phase != NONE)
		code = notepay_busy;
	else if (np->machine->refuse)
		code = np->machine->refuse(np->machine->context, c);
	if (code && code != notepay_busy)
		return fail(np, r, code);

	r->kind = code ? BUSY : c->duration_s ? TIMED : TAKEN;
	r->until = np->time + c->delayed_start_s + c->duration_s;
	if (!append(np, r) || code)
		return code != NULL;
	/* If the power fails here, it is not known whether the machine acted: unsure decides. */
	if (r->kind == TIMED) {
		np->current = *r;
		np->run = np->newest;
		if (c->delayed_start_s) {
			enter(np, DELAY, c->delayed_start_s);
			return true;
		}
		r = &np->current;
	}
	act(np, r, c->duration_s);
	return true;
}

/* receive handles the note in the line. It reports false if the note has to stay. */
static bool receive(notepay *np)
{
	uint32_t note = np->sum;
	const char *body = find(np->line, "body");
	record r;
	uint8_t id[ID_SIZE];
	notepay_credit *c = &np->credit;
	const char *status = find(body, "payment_status");
	uint8_t slot;
	bool completed = is(status, "\"completed\""), unacted, known;

	understand(body, c);
	if (!(completed || is(status, "\"refunded\"") || is(status, "\"ended\"")) || !pack(c->id, id))
		return true; /* not for us: it is removed, so that it holds up nothing */
#ifdef NOTEPAY_SIGN
	if (!notepay_signed(np->machine->key, status, c, find(body, "sig")))
		return true; /* its sender does not know the key: no start, no stop, no answer */
#endif
	slot = lookup(np, id, &r);
	known = slot != NO_SLOT && r.kind != EXPIRED;
	unacted = known && r.kind == TAKEN && !marked(&r, RAN);

	if (!completed) {
		if (np->phase != NONE && slot == np->run) {
			over(np);
			return settle(np);
		}
		if (known && !unacted)
			return true;
		prepare(&r, id, c);
		return fail(np, &r, "E-STOP"); /* should its credit come after it */
	}
	if (known ? unacted && np->machine->unsure == NOTEPAY_UNSURE_AGAIN : slot == NO_SLOT || c->expires > r.until) {
		prepare(&r, id, c);
		if (!take(np, &r))
			return false;
	}
	if (np->phase == OVER)
		return settle(np); /* its start failed */
	/* If the power fails before the note is removed, it comes again and is answered again. */
	if (np->told != note && !tell(np, &r, false))
		return false;
	np->told = note;
	return true;
}

#ifdef NOTEPAY_DECRYPT
#define DECRYPT ",\"decrypt\":true"
#else
#define DECRYPT ""
#endif

notepay_result notepay_poll(notepay *np)
{
	static const char peek[] = "{\"req\":\"note.get\",\"file\":\"" NOTEPAY_NOTE_FILE "\"" DECRYPT;
	if (!np->ready || np->talking)
		return NOTEPAY_WAIT;
	if (np->phase == RESUME && !resume(np))
		return NOTEPAY_WAIT;
	for (uint8_t i = 0; i < MAX_NOTES; i++) {
		uint8_t result;
		uint32_t note;
		notepay_tick(np);
		if (np->phase == OVER && !settle(np))
			return NOTEPAY_WAIT;
		result = ask(np, peek);
		if (result == MUTE)
			return NOTEPAY_WAIT;
		if (result == GARBLED)
			continue;
		if (np->err && !strstr(np->err, "noexist"))
			return NOTEPAY_WAIT;
		if (np->err) {
			if (!np->time || np->age > MAX_AGE_S / 2)
				know_time(np, 1);
			return NOTEPAY_IDLE;
		}
		note = np->sum;
		if (result != UNREADABLE && !receive(np))
			return NOTEPAY_WAIT;
		/* One attempt, whatever becomes of it: the next peek tells. */
		np->length = 0;
		put(np, peek);
		put(np, ",\"delete\":true");
		result = transact(np, NULL);
		if (result >= UNSURE && np->sum == note)
			np->told = 0;
		else if (result == SURE && !np->err)
			receive(np); /* another note was first meanwhile, and this was its only reading */
	}
	return NOTEPAY_MORE;
}

/* --- the rest of the interface --- */

bool notepay_begin(notepay *np, const notepay_port *port, const notepay_machine *machine)
{
	record r;
	machine->stop(machine->context);
	memset(np, 0, sizeof *np);
	np->port = port;
	np->machine = machine;
	np->newest = NO_SLOT;
	np->ms = millis(np);
	if (port->slots < NOTEPAY_MIN_SLOTS)
		return false;
	for (uint8_t slot = 0; slot < port->slots; slot++) {
		if (load_record(np, slot, &r) && (np->newest == NO_SLOT || (int16_t)(r.sequence - np->top) > 0)) {
			np->newest = slot;
			np->top = r.sequence;
			np->sequence = (uint16_t)r.sum; /* lines of before the reset are not repeated */
		}
	}
	np->ready = port->load(port->context, 0, &r, NOTEPAY_SLOT);
	if (np->newest == NO_SLOT) {
		np->newest = 0;
	} else {
		np->run = lookup(np, NULL, &np->current); /* the newest: older ones have ended */
		if (np->run != NO_SLOT && !marked(&np->current, ENDED))
			np->phase = np->current.kind == TIMED ? RESUME : OVER;
	}
	return np->ready;
}

void notepay_tick(notepay *np)
{
	if (!np->port)
		return;
	advance(np);
	if ((np->phase != ON && np->phase != DELAY) || np->left > 0)
		return;
	if (np->phase == ON)
		over(np);
	else if (!np->talking) /* a start may need the bus, or take its time */
		go(np, 0);
}

void notepay_end(notepay *np, const char *code)
{
	if (np->phase != ON && np->phase != DELAY)
		return;
	over(np);
	if (code && !np->talking)
		fail(np, &np->current, code);
}

uint32_t notepay_running(const notepay *np)
{
	if (np->phase != ON && np->phase != DELAY)
		return 0;
	return np->left ? np->left : 1;
}
