// A washer: a relay that is on for the paid time, perhaps after a delay, and a door switch.
// SPDX-License-Identifier: MIT
#include <Notepay.h>

#define PRODUCT "product:com.your-company:washers"

const uint8_t RELAY = 7; // drives the relay's transistor; a pull-down keeps it off at reset
const uint8_t DOOR = 4;  // LOW while the door is closed
const uint8_t ATTN = 2;

static const char *refuse(void *, const notepay_credit *credit)
{
	if (credit->duration_s == 0)
		return "E-PLAN"; // nothing would switch it off
	return digitalRead(DOOR) == LOW ? NULL : "E-DOOR";
}

static const char *start(void *, const notepay_credit *, uint32_t)
{
	if (digitalRead(DOOR) != LOW)
		return "E-DOOR"; // opened while the start was delayed
	digitalWrite(RELAY, HIGH);
	return NULL;
}

static void stop(void *)
{
	digitalWrite(RELAY, LOW);
}

const notepay_machine washer = {refuse, start, stop, 2 * 3600UL, NOTEPAY_UNSURE_FAILED, NULL};

void setup()
{
	digitalWrite(RELAY, LOW); // before it is an output
	pinMode(RELAY, OUTPUT);
	pinMode(DOOR, INPUT_PULLUP);
	npBegin(NOTEPAY_HUB(PRODUCT), &washer, ATTN);
}

void loop()
{
	npLoop();
}
