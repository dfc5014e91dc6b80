// A vending machine: pulses on its coin input, through an optocoupler, and its inhibit output.
// SPDX-License-Identifier: MIT
#include <Notepay.h>

#define PRODUCT "product:com.your-company:vending"

const uint8_t COIN = 7;    // the optocoupler's LED
const uint8_t INHIBIT = 4; // LOW while the machine takes no coins
const uint8_t ATTN = 2;

const uint16_t WIDTH_MS = 50; // Nayax calls these Active Time and Inactive Time
const uint16_t GAP_MS = 100;
const uint8_t PULSES = 1; // for notes that do not say how many
const uint8_t MAX_PULSES = 50;

static const char *refuse(void *, const notepay_credit *credit)
{
	if (credit->pulses > MAX_PULSES || credit->duration_s > 0)
		return "E-PLAN";
	return digitalRead(INHIBIT) == HIGH ? NULL : "E-INHIBIT";
}

static const char *start(void *, const notepay_credit *credit, uint32_t)
{
	npPulses(COIN, credit->pulses ? credit->pulses : PULSES, WIDTH_MS, GAP_MS);
	return NULL;
}

static void stop(void *)
{
	digitalWrite(COIN, LOW);
}

const notepay_machine vending = {refuse, start, stop, 0, NOTEPAY_UNSURE_FAILED, NULL};

void setup()
{
	digitalWrite(COIN, LOW); // before it is an output
	pinMode(COIN, OUTPUT);
	pinMode(INHIBIT, INPUT_PULLUP);
	npBegin(NOTEPAY_HUB(PRODUCT), &vending, ATTN);
}

void loop()
{
	npLoop();
}
