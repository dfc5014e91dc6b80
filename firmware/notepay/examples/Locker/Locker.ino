// A locker: the paid code opens it from the keypad until the time is over, also after a power cut.
// Give its price a duration and access_code=true.
// SPDX-License-Identifier: MIT
#include <Notepay.h>
#include <NotepayKeypad.h>

#define PRODUCT "product:com.your-company:lockers"

const uint8_t LOCK = 12, ATTN = 2;
const uint8_t ROWS[] = {5, 6, 7, 8}, COLUMNS[] = {9, 10, 11};
static char code[8];

static const char *start(void *, const notepay_credit *credit, uint32_t seconds)
{
	if (seconds == 0 || credit->code[0] == 0)
		return "E-PLAN";
	memcpy(code, credit->code, sizeof code);
	return NULL;
}

static void stop(void *)
{
	digitalWrite(LOCK, LOW);
	memset(code, 0, sizeof code);
}

const notepay_machine locker = {NULL, start, stop, 7 * 86400UL, NOTEPAY_UNSURE_FAILED, NULL};

void setup()
{
	digitalWrite(LOCK, LOW); // before it is an output
	pinMode(LOCK, OUTPUT);
	npKeypadBegin(COLUMNS);
	npBegin(NOTEPAY_HUB(PRODUCT), &locker, ATTN);
}

void loop()
{
	static char typed[8];
	static uint8_t n, wrong;
	static uint32_t wrong_at;
	npLoop();
	char key = npKey(ROWS, COLUMNS);
	if (key == 0 || (wrong >= 5 && millis() - wrong_at < 60000UL))
		return; // after five wrong codes the keypad rests for a minute
	if (key == '*' || key == '#')
		n = 0;
	else
		typed[n++] = key;
	if (n < 6)
		return;
	n = 0;
	bool right = code[0] && memcmp(typed, code, 6) == 0;
	wrong = right ? 0 : wrong % 5 + 1;
	wrong_at = millis();
	if (right)
		npPulses(LOCK, 1, 500, 0);
}
