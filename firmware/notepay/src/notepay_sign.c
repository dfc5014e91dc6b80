/* notepay_sign.c: HMAC-SHA-256 (FIPS 180-4, RFC 2104), small rather than fast.
 *
 * Copyright (c) 2026 the notepay authors
 * SPDX-License-Identifier: MIT
 */
#include "notepay_sign.h"

#include <string.h>

#ifdef __AVR__
#include <avr/pgmspace.h>
#define CONSTANT(i) pgm_read_dword(&constants[i])
#else
#define PROGMEM
#define CONSTANT(i) constants[i]
#endif

static const uint32_t constants[64] PROGMEM = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
	0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
	0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
	0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
	0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
	0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
	0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static const uint32_t first[8] = {
	0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
};

/* hash is a SHA-256 that is under way. */
typedef struct {
	uint32_t state[8], words[16];
	uint32_t n; /* bytes so far */
} hash;

static uint32_t rotate(uint32_t x, uint8_t by)
{
	return x >> by | x << (32 - by);
}

/* mix returns x rotated to the right by a, b and c; by c it is only shifted if that is 3 or 10. */
static uint32_t mix(uint32_t x, uint8_t a, uint8_t b, uint8_t c)
{
	uint32_t third = x >> c;
	if (c > 10)
		third |= x << (32 - c);
	return rotate(x, a) ^ rotate(x, b) ^ third;
}

static void compress(hash *h)
{
	uint32_t s[8], *w = h->words;
	memcpy(s, h->state, sizeof s);
	for (uint8_t i = 0; i < 64; i++) {
		uint32_t *wi = &w[i & 15], t;
		if (i >= 16)
			*wi += mix(w[(i + 1) & 15], 7, 18, 3) + w[(i + 9) & 15] + mix(w[(i + 14) & 15], 17, 19, 10);
		t = s[7] + mix(s[4], 6, 11, 25) + (s[6] ^ (s[4] & (s[5] ^ s[6]))) + CONSTANT(i) + *wi;
		s[3] += t;
		t += mix(s[0], 2, 13, 22) + ((s[0] & s[1]) | (s[2] & (s[0] | s[1])));
		for (uint8_t j = 7; j > 0; j--)
			s[j] = s[j - 1];
		s[0] = t;
	}
	for (uint8_t i = 0; i < 8; i++)
		h->state[i] += s[i];
	memset(h->words, 0, sizeof h->words);
}

static void put(hash *h, uint8_t byte)
{
	uint32_t at = h->n++ & 63;
	h->words[at / 4] |= (uint32_t)byte << (24 - at % 4 * 8);
	if (at == 63)
		compress(h);
}

/* begin starts a hash with a block of the key, each byte changed by pad. */
static void begin(hash *h, const uint8_t *key, uint8_t pad)
{
	memset(h, 0, sizeof *h);
	memcpy(h->state, first, sizeof first);
	for (uint8_t i = 0; i < 64; i++)
		put(h, i < 32 ? key[i] ^ pad : pad);
}

static void finish(hash *h)
{
	uint32_t bits = h->n * 8;
	put(h, 0x80);
	while ((h->n & 63) != 56)
		put(h, 0);
	h->words[15] = bits;
	compress(h);
}

/* outer completes an HMAC whose inner hash has all of the message. The MAC is its state. */
static void outer(hash *h, const uint8_t *key)
{
	uint32_t inner[8];
	finish(h);
	memcpy(inner, h->state, sizeof inner);
	begin(h, key, 0x5c);
	memcpy(h->words, inner, sizeof inner);
	h->n += sizeof inner;
	finish(h);
}

/* put_text writes a bar and a text, which ends in a NUL or a quote. */
static void put_text(hash *h, const char *s)
{
	put(h, '|');
	while (*s && *s != '"')
		put(h, (uint8_t)*s++);
}

static void put_number(hash *h, uint32_t value)
{
	char digits[11];
	uint8_t i = sizeof digits - 1;
	digits[i] = 0;
	do
		digits[--i] = (char)('0' + value % 10);
	while ((value /= 10) > 0);
	put_text(h, digits + i);
}

bool notepay_signed(const uint8_t key[32], const char *status, const notepay_credit *credit, const char *sig)
{
	hash h;
	if (!key || !sig || *sig++ != '"')
		return false;
	begin(&h, key, 0x36);
	h.words[0] = 0x76310000; /* "v1" */
	h.n += 2;
	put_text(&h, credit->id);
	put_text(&h, status + 1);
	put_number(&h, credit->expires);
	put_number(&h, credit->duration_s);
	put_number(&h, credit->delayed_start_s);
	put_text(&h, credit->code);
	put_number(&h, credit->pulses);
	put_number(&h, credit->output);
	outer(&h, key);
	for (uint8_t i = 0; i < 32; i++, sig++) {
		uint32_t *word = &h.state[i / 8];
		uint8_t nibble = (uint8_t)(*word >> 28);
		if (*sig != (char)(nibble + (nibble < 10 ? '0' : 'a' - 10)))
			return false; /* when it differs tells nothing: each note takes a second */
		*word <<= 4;
	}
	return true;
}
