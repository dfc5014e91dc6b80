/* notepay_config.h: what is compiled in. The Arduino IDE passes no flags of a sketch to a library,
 * so this is the place.
 *
 * Copyright (c) 2026 the notepay authors
 * SPDX-License-Identifier: MIT
 */

/* The notefiles, as NOTE_FILE and ACK_FILE of the bridge name them. "payment.qis" and
 * "payment_ack.qos" are only transferred over TLS. */
#ifndef NOTEPAY_NOTE_FILE
#define NOTEPAY_NOTE_FILE "payment.qi"
#endif
#ifndef NOTEPAY_ACK_FILE
#define NOTEPAY_ACK_FILE "payment_ack.qo"
#endif

/* With NOTEPAY_SIGN, a note starts or stops nothing without a signature by the machine's key. */
/* #define NOTEPAY_SIGN */

/* Experimental: with NOTEPAY_DECRYPT, the Notecard is asked to decrypt each note. No Notecard was
 * asked yet whether it does (ENCRYPT_NOTES of the bridge). */
/* #define NOTEPAY_DECRYPT */
