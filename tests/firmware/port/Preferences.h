/* Preferences.h is the little of ESP32's library that NotepayStorage.h uses, over a map.
 *
 * Copyright (c) 2026 the notepay authors
 * SPDX-License-Identifier: MIT
 */
#include <map>
#include <string>
#include <vector>

class Preferences
{
public:
	bool begin(const char *, bool) { return true; }

	size_t getBytes(const char *key, void *to, size_t n)
	{
		const std::vector<uint8_t> &value = values[key];
		if (value.empty() || value.size() > n)
			return 0;
		memcpy(to, value.data(), value.size());
		return value.size();
	}

	size_t putBytes(const char *key, const void *from, size_t n)
	{
		const uint8_t *bytes = static_cast<const uint8_t *>(from);
		values[key] = std::vector<uint8_t>(bytes, bytes + n);
		return n;
	}

private:
	std::map<std::string, std::vector<uint8_t>> values;
};
