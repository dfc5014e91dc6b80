/* Wire.h is the little of Arduino's library that NotepayStorage.h uses, with an EEPROM at 0x50 that
 * does not answer for a while after a write.
 *
 * Copyright (c) 2026 the notepay authors
 * SPDX-License-Identifier: MIT
 */
#include <vector>

class TwoWire
{
public:
	void beginTransmission(int address)
	{
		there = address == 0x50 && !gone;
		sent.clear();
	}

	size_t write(uint8_t byte)
	{
		sent.push_back(byte);
		return 1;
	}

	uint8_t endTransmission()
	{
		if (!there || busy > 0) {
			busy -= busy > 0;
			return 2;
		}
		if (sent.size() >= 2)
			at = static_cast<uint16_t>(sent[0] << 8 | sent[1]);
		for (size_t i = 2; i < sent.size(); i++, busy = 4)
			memory[at++] = sent[i];
		return 0;
	}

	uint8_t requestFrom(uint8_t, uint8_t n) { return gone ? 0 : n; }
	int read() { return memory[at++]; }

	bool gone = false;
	uint8_t memory[4096];

private:
	std::vector<uint8_t> sent;
	uint16_t at = 0;
	int busy = 0;
	bool there = false;
};

extern TwoWire Wire;
