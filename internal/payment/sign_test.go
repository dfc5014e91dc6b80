package payment

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The firmware's tests read the same notes from tests/firmware/sign/vectors.txt, and verify them
// with the compiled library.
func TestSignMakesTheVectorsOfTheFirmware(t *testing.T) {
	t.Parallel()
	path := filepath.Join("..", "..", "tests", "firmware", "sign", "vectors.txt")
	stored, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := vectors(t); string(stored) != want {
		t.Errorf("%s differs; it has to be:\n%s", path, want)
	}
}

// vectors returns a line for each note: a device's key, signed or forged, and the body.
func vectors(t *testing.T) string {
	t.Helper()
	const device = "dev:864475044215258"
	master := []byte("0123456789abcdef0123456789abcdef")
	key := DeviceKey(master, device)
	var lines strings.Builder
	add := func(verdict string, key []byte, n Note) {
		body, err := json.Marshal(n)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&lines, "%x %s %s\n", key, verdict, body)
	}
	now := time.Unix(1_790_000_000, 0)
	credit := func(id string, change func(*Payment)) Payment {
		p := Payment{
			ID:        CreditID(id),
			SessionID: id,
			PaidAt:    now,
			ExpiresAt: now.Add(10 * time.Minute),
			ConfirmBy: now.Add(11 * time.Minute),
			Delivery:  Queued,
		}
		change(&p)
		return p
	}
	plans := map[string]func(*Payment){}
	names := []string{"pulse", "pulses", "timed", "delayed", "code", "output", "all", "no end"}
	plans["pulse"] = func(*Payment) {}
	plans["pulses"] = func(p *Payment) { p.Pulses = 3 }
	plans["timed"] = func(p *Payment) { p.Duration = time.Hour }
	plans["delayed"] = func(p *Payment) { p.Duration, p.DelayedStart = time.Hour, 5*time.Minute }
	plans["code"] = func(p *Payment) { p.NeedsAccessCode, p.AccessCode = true, "049317" }
	plans["output"] = func(p *Payment) { p.Output = 255 }
	plans["all"] = func(p *Payment) {
		p.Duration, p.DelayedStart, p.AccessCode, p.Pulses, p.Output = 90*time.Minute, time.Second, "000000", 1000, 4
	}
	plans["no end"] = func(p *Payment) { p.ExpiresAt = time.Time{} }
	for _, name := range names {
		note := NoteOf(credit("cs_"+name, plans[name]))
		add("signed", key, Sign(note, key))
		add("forged", DeviceKey(master, "dev:864475044215259"), Sign(note, key))
		add("forged", key, note) // without a signature
	}
	for _, notice := range []string{"refunded", "ended"} {
		started := credit("cs_"+notice, plans["all"])
		started.Delivery, started.PendingNotice = Started, notice
		add("signed", key, Sign(NoteOf(started), key))
	}
	for _, forge := range []func(*Note){
		func(n *Note) { n.CreditID = CreditID("cs_another") },
		func(n *Note) { n.PaymentStatus = "ended" },
		func(n *Note) { n.Expires++ },
		func(n *Note) { n.Expires = 0 },
		func(n *Note) { n.Duration++ },
		func(n *Note) { n.DelayedStart = 0 },
		func(n *Note) { n.Code = "000001" },
		func(n *Note) { n.Pulses++ },
		func(n *Note) { n.Output = 0 },
		func(n *Note) { n.Signature = strings.ToUpper(n.Signature) },
		func(n *Note) { n.Signature = n.Signature[:31] },
	} {
		note := Sign(NoteOf(credit("cs_forged", plans["all"])), key)
		forge(&note)
		add("forged", key, note)
	}
	return lines.String()
}

func TestDeviceKeyDiffersForEachDeviceAndMaster(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, master := range []string{"a", "b"} {
		for _, device := range []string{"dev:1", "dev:2"} {
			seen[string(DeviceKey([]byte(master), device))] = true
		}
	}
	if len(seen) != 4 {
		t.Errorf("%d keys; want 4", len(seen))
	}
}
