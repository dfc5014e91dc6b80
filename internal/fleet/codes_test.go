package fleet

import (
	"fmt"
	"testing"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/uid"
)

// fleetOf returns a fleet with devices, without a ledger.
func fleetOf(keys ...string) *Fleet {
	f := &Fleet{devices: map[string]*Device{}}
	for _, key := range keys {
		f.devices[key] = &Device{Device: ledger.Device{UID: key, Name: key}}
	}
	return f
}

// alike returns two devices whose short codes are the same.
func alike(t *testing.T) (a, b string) {
	t.Helper()
	seen := map[string]string{}
	for i := range 100_000 {
		key := fmt.Sprintf("dev:86447504%07d", i)
		short := uid.Code(key)[:uid.MinCode]
		if other := seen[short]; other != "" {
			return other, key
		}
		seen[short] = key
	}
	t.Fatal("no two devices have the same short code")
	return "", ""
}

func TestShortCodes(t *testing.T) {
	t.Parallel()
	a, b := alike(t)
	alone := fleetOf(a)
	short := alone.Code(a)
	if len(short) != len("W3-7F") {
		t.Errorf("the code of a device alone is %s; want four characters", short)
	}
	both := fleetOf(a, b, "dev:0001")
	if both.Code(a) == both.Code(b) || len(both.Code(a)) <= len(short) {
		t.Errorf("two devices have the codes %s and %s; want longer ones that differ", both.Code(a), both.Code(b))
	}
	for typed, want := range map[string]int{short: 2, both.Code(a): 1, both.Code(b): 1, both.Code("dev:0001"): 1} {
		code, ok := uid.ParseCode(typed)
		if found := both.ByCode(code); !ok || len(found) != want {
			t.Errorf("%s finds %d devices; want %d", typed, len(found), want)
		}
	}
	if found := both.ByCode("3333"); len(found) > 0 {
		t.Errorf("an unknown code finds %v", found)
	}
}

func TestShortCodesOfNewDevices(t *testing.T) {
	t.Parallel()
	f := fleetOf("dev:0001")
	code, _ := uid.ParseCode(f.Code("dev:0001"))
	f.devices["dev:0002"] = &Device{Device: ledger.Device{UID: "dev:0002"}}
	delete(f.devices, "dev:0001")
	if found := f.ByCode(code); len(found) > 0 {
		t.Errorf("a device that was removed is found: %v", found)
	}
	f.codes.builtAt = time.Now().Add(-codesMaxAge)
	code, _ = uid.ParseCode(f.Code("dev:0002"))
	if found := f.ByCode(code); len(found) != 1 {
		t.Errorf("a new device is not found by %s", code)
	}
}
