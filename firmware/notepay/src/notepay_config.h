/* notepay_config.h: what is compiled in. The Arduino IDE passes no flags of a sketch to a library,
 * so this is the place.
 *
 * Copyright (c) 2026 the notepay authors
 * SPDX-License-Identifier: MIT
 */

/* With NOTEPAY_SIGN, a note starts or stops nothing without a signature by the machine's key. */
/* #define NOTEPAY_SIGN */
