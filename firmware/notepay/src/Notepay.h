/* Notepay.h: the port that fits the board: the UART alone on an Uno, Blues' library on others.
 *
 * Copyright (c) 2026 the notepay authors
 * SPDX-License-Identifier: MIT
 */
#if defined(ARDUINO_AVR_UNO) || defined(NOTEPAY_UART)
#include "NotepaySerial.h"
#else
#include "NotepayArduino.h"
#endif
