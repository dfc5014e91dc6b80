package uid_test

import (
	"strings"
	"testing"

	"notepay/internal/fixture"
	"notepay/internal/uid"
)

func FuzzDeviceUID(f *testing.F) {
	for _, given := range []string{
		fixture.Washer, "dev:", "DEV:ABC", " dev:1\n", "[deviceUID]", "dev:1/../2", "dev:\u212a", "dev:\u0130",
		"dev:dev:1", "dev:a b", strings.Repeat("dev:1", 20), "\xff", "dev:..", "dev:a_b-c.d",
	} {
		f.Add(given)
	}
	f.Fuzz(func(t *testing.T, given string) {
		key, ok := uid.Parse(given)
		if !ok {
			if key != "" {
				t.Errorf("%q is refused and gives %q; want nothing", given, key)
			}
			return
		}
		if again, ok := uid.Parse(key); !ok || again != key {
			t.Errorf("%q becomes %q, which becomes %q", given, key, again)
		}
		name, found := strings.CutPrefix(key, "dev:")
		if !found || name == "" || len(name) > 64 ||
			strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.:") != "" ||
			strings.ContainsAny(key, "/<>\"'&? \t\r\n%") {
			t.Errorf("%q becomes %q, which is no device UID", given, key)
		}
	})
}
