/* notepay_line.h: the line to the Notecard and back, and a JSON reader over it. Private to notepay.c.
 *
 * Copyright (c) 2026 the notepay authors
 * SPDX-License-Identifier: MIT
 */
#ifndef NOTEPAY_LINE_H
#define NOTEPAY_LINE_H

#include "notepay.h"

#include <string.h>

/* What a transaction brought. UNSURE is a reply without a sum. */
enum { MUTE, GARBLED, UNREADABLE, UNSURE, SURE };

enum { SUM_FIELD = 22 }; /* ,"crc":"SSSS:CCCCCCCC" */

static const char sum_name[] = ",\"crc\":\"";

#define MAX_NUMBER 0xffffffffUL

/* checksum returns the CRC-32 of n bytes. */
static uint32_t checksum(const void *bytes, size_t n)
{
	const uint8_t *p = (const uint8_t *)bytes;
	uint32_t crc = 0xffffffffUL;
	while (n-- > 0) {
		crc ^= *p++;
		for (uint8_t bit = 0; bit < 8; bit++)
			crc = (crc & 1) ? (crc >> 1) ^ 0xedb88320UL : crc >> 1;
	}
	return ~crc;
}

/* --- JSON: a reader over the line, without a tree and without recursion --- */

static const char *space(const char *p)
{
	while (*p && (uint8_t)*p <= ' ')
		p++;
	return p;
}

/* skip returns where the value at p ends, or NULL if it does not. */
static const char *skip(const char *p)
{
	size_t depth = 0;
	for (;;) {
		switch (*p++) {
		case 0:
			return NULL;
		case '"':
			for (; *p != '"'; p++)
				if (*p == 0 || (*p == '\\' && *++p == 0))
					return NULL;
			p++;
			break;
		case '{':
		case '[':
			depth++;
			break;
		case '}':
		case ']':
			if (depth-- == 0)
				return NULL;
			break;
		default:
			if (depth == 0)
				while (*p && !strchr(",:]} \t\r\n", *p))
					p++;
		}
		if (depth == 0)
			return p;
	}
}

/* find returns the value of a member of the object at p, or NULL. */
static const char *find(const char *p, const char *key)
{
	size_t n = strlen(key);
	if (!p || *p != '{')
		return NULL;
	do {
		const char *name = space(p + 1);
		if (*name != '"' || (p = skip(name)) == NULL)
			return NULL;
		p = space(p);
		if (*p != ':')
			return NULL;
		p = space(p + 1);
		if (strncmp(name + 1, key, n) == 0 && name[n + 1] == '"')
			return p;
		if ((p = skip(p)) == NULL)
			return NULL;
		p = space(p);
	} while (*p == ',');
	return NULL;
}

/* text copies a string member of at most size - 1 characters. What is missing, is no string or
 * is too long becomes "". Escapes stay as they are: no text that matters has any. */
static void text(const char *object, const char *key, char *to, size_t size)
{
	const char *p = find(object, key), *end = p ? strchr(p + 1, '"') : NULL;
	size_t n = 0;
	if (end && *p == '"' && (size_t)(end - p) <= size) {
		n = (size_t)(end - p) - 1;
		memcpy(to, p + 1, n);
	}
	to[n] = 0;
}

/* number returns a member: 0 if it is missing, is no number or is negative, and the largest value
 * if it is larger or in a form that is not read, such as 1.5 or 1e3. */
static uint32_t number(const char *object, const char *key)
{
	const char *p = find(object, key);
	uint32_t value = 0;
	if (!p)
		return 0;
	for (; *p >= '0' && *p <= '9'; p++)
		value = value >= MAX_NUMBER / 10 ? MAX_NUMBER : value * 10 + (uint32_t)(*p - '0');
	return *p == '.' || *p == 'e' || *p == 'E' ? MAX_NUMBER : value;
}

/* is reports whether a value is this text, which is given with its quotes. */
static bool is(const char *value, const char *quoted)
{
	return value && strncmp(value, quoted, strlen(quoted)) == 0;
}

/* --- the line --- */

static void put(notepay *np, const char *s)
{
	while (*s && np->length < NOTEPAY_LINE - SUM_FIELD - 3)
		np->line[np->length++] = *s++;
}

/* write_sum writes "SSSS:CCCCCCCC" of np->sum. */
static void write_sum(const notepay *np, char *to)
{
	uint32_t value = np->sum;
	for (uint8_t i = 13; i-- > 0; value >>= 4) {
		uint8_t digit = (uint8_t)(value & 15);
		to[i] = (char)(digit < 10 ? '0' + digit : 'A' + digit - 10);
		if (i == 5) {
			to[--i] = ':';
			value = (uint32_t)np->sequence << 4;
		}
	}
}

/* transact sends the object s, or the one that was put, once. It adds the sum and the closing
 * brace and reads the reply. A reply whose sum is right is SURE. After the first such reply, one
 * without a sum is garbled, unless it is an error: the Notecard may send those without. */
static uint8_t transact(notepay *np, const char *s)
{
	char *line = np->line, value[13];
	uint8_t result = UNSURE;
	size_t n;

	if (s) {
		np->length = 0;
		put(np, s);
	}
	n = np->length;
	line[n] = '}';
	np->sequence++;
	np->sum = checksum(line, n + 1);
	memcpy(line + n, sum_name, 8);
	write_sum(np, line + n + 8);
	memcpy(line + n + 21, "\"}\n", 4);
	np->talking = true;
	n = np->port->transact(np->port->context, line, n + 24, NOTEPAY_LINE);
	np->talking = false;

	np->err = NULL;
	np->length = 0;
	if (n >= NOTEPAY_LINE) {
		np->sum = checksum(line, NOTEPAY_LINE);
		return UNREADABLE;
	}
	while (n > 0 && (uint8_t)line[n - 1] <= ' ')
		n--;
	if (n == 0)
		return MUTE;
	if (n > SUM_FIELD + 1 && memcmp(line + n - SUM_FIELD, sum_name + 1, 7) == 0) {
		result = SURE;
		np->sums = true;
		n -= SUM_FIELD;
		line[n - 1] = '}';
	}
	line[n + (result == SURE ? SUM_FIELD : 0)] = 0;
	np->sum = checksum(line, n);
	if (result == SURE) {
		write_sum(np, value);
		for (uint8_t i = 0; i < 13; i++)
			if (((line[n + 7 + i] ^ value[i]) & ~0x20) != 0)
				return GARBLED;
	}
	line[n] = 0;
	np->length = (uint16_t)n;
	np->err = find(line, "err");
	if (result != SURE && np->sums && !np->err)
		return GARBLED;
	if (*line != '{' || skip(line) != line + n)
		return UNREADABLE;
	return result;
}

/* ask makes a request that may be repeated. Without a sum it wants the same reply twice, and what
 * cannot be read three times. */
static uint8_t ask(notepay *np, const char *s)
{
	uint8_t same = 0;
	uint32_t first = 0;
	for (uint8_t i = 0; i < 4; i++) {
		uint8_t result = transact(np, s);
		if (result < UNREADABLE || result == SURE)
			return result;
		same = np->sum == first ? (uint8_t)(same + 1) : 1;
		first = np->sum;
		if (same == 3)
			return result;
		if (same == 2 && result == UNSURE)
			return SURE;
	}
	return GARBLED;
}

/* accepted completes a request that was put, and reports whether it was carried out. */
static bool accepted(notepay *np)
{
	return transact(np, NULL) >= UNSURE && !np->err;
}

bool notepay_request(notepay *np, const char *object)
{
	if (np->talking)
		return false;
	np->length = 0;
	put(np, object);
	return accepted(np);
}

#endif
