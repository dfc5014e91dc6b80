package app

import (
	"strings"
	"testing"
	"time"

	"notepay/internal/config"
	"notepay/internal/ledger"
)

// A leader that does not reach a vendor for a minute is weak. If no instance reaches it, the lead goes
// round once an hour and not each minute.
func TestWeakness(t *testing.T) {
	t.Parallel()
	began := time.Now()
	for name, test := range map[string]struct {
		leads, failing func(at time.Duration) bool
		weak           map[time.Duration]bool
	}{
		"a leader whose network fails": {
			leads:   func(at time.Duration) bool { return at < 90*time.Second },
			failing: func(at time.Duration) bool { return at >= 10*time.Second },
			weak: map[time.Duration]bool{
				69 * time.Second: false, 71 * time.Second: true, 30 * time.Minute: true, 62 * time.Minute: false,
			},
		},
		"a leader whose network is back": {
			leads:   func(time.Duration) bool { return true },
			failing: func(at time.Duration) bool { return at < 2*time.Minute },
			weak:    map[time.Duration]bool{119 * time.Second: true, 121 * time.Second: false},
		},
		"a leader with a short failure": {
			leads:   func(time.Duration) bool { return true },
			failing: func(at time.Duration) bool { return at > 50*time.Second && at < 100*time.Second },
			weak:    map[time.Duration]bool{99 * time.Second: false, 3 * time.Minute: false},
		},
		"one that leads again after its last failure tries for a minute": {
			leads:   func(at time.Duration) bool { return at >= time.Hour },
			failing: func(time.Duration) bool { return true },
			weak: map[time.Duration]bool{
				59 * time.Minute: false, time.Hour + 50*time.Second: false, time.Hour + 65*time.Second: true,
			},
		},
	} {
		var w weakness
		for at := time.Duration(0); at <= 2*time.Hour; at += time.Second {
			weak := w.update(began.Add(at), test.leads(at), test.failing(at))
			if want, checked := test.weak[at]; checked && weak != want {
				t.Errorf("%s: after %v weak is %v; want %v", name, at, weak, want)
			}
		}
	}
}

// The settings of another instance are compared without being told.
func TestDifferences(t *testing.T) {
	t.Parallel()
	identity := func(change func(*config.Settings)) ledger.Identity {
		s := config.Settings{PublicURL: "https://pay.example.com", OperatorToken: "secret-token-12345"}
		change(&s)
		return Identity(&s)
	}
	ours := identity(func(*config.Settings) {})
	theirs := identity(func(s *config.Settings) { s.PublicURL, s.OperatorToken = "https://other.example.com", "other" })
	same := identity(func(s *config.Settings) { s.Port = 8081 })
	got := differences(ours.Settings, []ledger.Peer{
		{Name: "web1", Settings: same.Settings},
		{Name: "web2", Settings: theirs.Settings},
	})
	if want := "web2: OPERATOR_TOKEN, PUBLIC_URL"; strings.Join(got, "; ") != want {
		t.Errorf("the differences are %q; want %q", got, want)
	}
	if strings.Contains(ours.Settings, "secret-token") || strings.Contains(ours.Settings, "pay.example") {
		t.Errorf("the settings are told as %q; want digests", ours.Settings)
	}
	if ours.Name == "" {
		t.Error("an instance has no name")
	}
}
