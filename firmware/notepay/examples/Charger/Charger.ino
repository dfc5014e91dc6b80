// A charger: its contactor is on for the paid time, and ends early when the plug is pulled.
// SPDX-License-Identifier: MIT
#include <Notepay.h>

#define PRODUCT "product:com.your-company:chargers"

const uint8_t CONTACTOR = 7; // a pull-down keeps it off at reset
const uint8_t PLUG = 4;      // LOW while a plug is in
const uint8_t FAULT = 5;     // LOW when the residual-current device has tripped
const uint8_t ATTN = 2;

static const char *refuse(void *, const notepay_credit *credit)
{
	if (credit->duration_s == 0)
		return "E-PLAN"; // nothing would switch it off
	if (digitalRead(FAULT) == LOW)
		return "E-RCD";
	return digitalRead(PLUG) == LOW ? NULL : "E-PLUG";
}

static const char *start(void *, const notepay_credit *credit, uint32_t)
{
	const char *code = refuse(NULL, credit);
	if (code == NULL)
		digitalWrite(CONTACTOR, HIGH);
	return code;
}

static void stop(void *)
{
	digitalWrite(CONTACTOR, LOW);
}

const notepay_machine charger = {refuse, start, stop, 8 * 3600UL, NOTEPAY_UNSURE_FAILED, NULL};

void setup()
{
	digitalWrite(CONTACTOR, LOW); // before it is an output
	pinMode(CONTACTOR, OUTPUT);
	pinMode(PLUG, INPUT_PULLUP);
	pinMode(FAULT, INPUT_PULLUP);
	npBegin(NOTEPAY_HUB(PRODUCT), &charger, ATTN);
}

void loop()
{
	npLoop();
	if (digitalRead(CONTACTOR) == LOW)
		return;
	if (digitalRead(FAULT) == LOW)
		notepay_end(&npState, "E-RCD"); // the operator sees it
	else if (digitalRead(PLUG) != LOW)
		notepay_end(&npState, NULL); // the customer has left
}
