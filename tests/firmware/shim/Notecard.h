/* Notecard.h declares what NotepayArduino.h uses of Blues' library, to compile against without it.
 *
 * Copyright (c) 2026 the notepay authors
 * SPDX-License-Identifier: MIT
 */
#include <Arduino.h>

class Notecard
{
public:
	void begin();
	void setFn(void *(*allocate)(size_t), void (*release)(void *), void (*wait)(uint32_t), uint32_t (*now)());
};

extern "C" {
char *NoteRequestResponseJSON(const char *line);
uint32_t NoteSetRequestTimeout(uint32_t seconds);
void NoteFree(void *p);
}
