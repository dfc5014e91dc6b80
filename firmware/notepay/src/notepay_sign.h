/* notepay_sign.h: the signature of a note.
 *
 * Copyright (c) 2026 the notepay authors
 * SPDX-License-Identifier: MIT
 */
#ifndef NOTEPAY_SIGN_H
#define NOTEPAY_SIGN_H

#include "notepay.h"

#ifdef __cplusplus
extern "C" {
#endif

/* notepay_signed reports whether sig, 32 hexadecimal digits in lower case, is the first half of the
 * HMAC of v1|credit_id|payment_status|expires|duration_s|delayed_start_s|code|pulses|output. Numbers
 * are decimal, and 0 if the note has none; a missing code is empty. status and sig are JSON strings
 * with their quotes; sig may be NULL. */
bool notepay_signed(const uint8_t key[32], const char *status, const notepay_credit *credit, const char *sig);

#ifdef __cplusplus
}
#endif

#endif
