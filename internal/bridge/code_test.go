package bridge

import (
	"regexp"
	"testing"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/upstream"
)

func TestACodeIsKeptWhileItOpensAnything(t *testing.T) {
	t.Parallel()
	timed := func(s *tale) { s.p.Duration = time.Hour }
	for name, c := range map[string]struct {
		firmware firmware
		money    ledger.Money
		story    func(*tale)
		kept     bool
	}{
		"queued":                             {plain, ledger.Paid, func(s *tale) {}, true},
		"a post that is unclear":             {plain, ledger.Paid, func(s *tale) { s.post(upstream.Unclear) }, true},
		"sent":                               {plain, ledger.Paid, func(s *tale) { s.post(upstream.Done) }, true},
		"refused":                            {plain, ledger.Paid, func(s *tale) { s.post(upstream.Refused) }, false},
		"run out before it was sent":         {plain, ledger.Paid, func(s *tale) { s.later(time.Hour) }, false},
		"fetched":                            {plain, ledger.Paid, (*tale).fetched, true},
		"fetched, a day less a minute later": {plain, ledger.Paid, func(s *tale) { s.fetched(); s.later(24*time.Hour - 11*time.Minute) }, true},
		"fetched, a day later":               {plain, ledger.Paid, func(s *tale) { s.fetched(); s.later(24 * time.Hour) }, false},
		"fetched for an hour, of which it is part":   {plain, ledger.Paid, func(s *tale) { timed(s); s.fetched(); s.later(45 * time.Minute) }, true},
		"fetched for an hour, that is over":          {plain, ledger.Paid, func(s *tale) { timed(s); s.fetched(); s.later(time.Hour) }, false},
		"fetched, and not confirmed yet":             {confirms, ledger.Paid, (*tale).fetched, true},
		"never confirmed":                            {confirms, ledger.Paid, func(s *tale) { s.fetched(); s.later(time.Hour); s.silence() }, false},
		"started with the money on hold":             {confirms, ledger.Authorized, func(s *tale) { s.starts() }, true},
		"started for an hour, of which it is part":   {confirms, ledger.Paid, func(s *tale) { timed(s); s.starts(); s.later(45 * time.Minute) }, true},
		"started for an hour, that is over":          {confirms, ledger.Paid, func(s *tale) { timed(s); s.starts(); s.later(time.Hour) }, false},
		"started without an end":                     {confirms, ledger.Paid, func(s *tale) { s.starts(); s.later(23 * time.Hour) }, true},
		"started without an end, a day ago":          {confirms, ledger.Paid, func(s *tale) { s.starts(); s.later(24 * time.Hour) }, false},
		"done":                                       {confirms, ledger.Paid, func(s *tale) { s.starts(); s.says("done") }, false},
		"the machine's door does not open":           {confirms, ledger.Paid, func(s *tale) { s.fetched(); s.says("failed") }, false},
		"a part of the money is back":                {confirms, ledger.Paid, func(s *tale) { s.starts(); s.back(100) }, true},
		"the money is back":                          {plain, ledger.Paid, func(s *tale) { s.fetched(); s.back(350) }, false},
		"the bank asks for the money back":           {plain, ledger.Paid, func(s *tale) { s.fetched(); s.dispute("needs_response") }, false},
		"fetched for ever, and nobody looks by then": {plain, ledger.Paid, func(s *tale) { s.fetched(); s.now = s.now.Add(25 * time.Hour) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := begin(t, c.firmware, c.money)
			s.p.WithCode, s.p.AccessCode = true, "493817"
			c.story(s)
			if got := Opens(s.p, s.now); got != c.kept {
				t.Errorf("it opens the machine: %v; want %v (%+v)", got, c.kept, s.p)
			}
			if p := Next(s.p, s.now); (p.AccessCode != "") != c.kept || p.AccessCode != "" && p.Machine != ledger.Queued && p.Machine != ledger.Sent && p.Step == ledger.NoStep {
				t.Errorf("the ledger holds %q, next is %q; want it kept %v, until a step ends it", p.AccessCode, p.Step, c.kept)
			}
		})
	}
}

func TestACodeIsSixDigitsAndGivenOnce(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 100 {
		p := sold(queued(), Session{}, ledger.Plan{AccessCode: true})
		if !regexp.MustCompile(`^[0-9]{6}$`).MatchString(p.AccessCode) || !p.WithCode {
			t.Fatalf("the code is %q", p.AccessCode)
		}
		if again := coded(p); again != p {
			t.Errorf("a second time the code is %q; want %q", again.AccessCode, p.AccessCode)
		}
		seen[p.AccessCode] = true
	}
	if len(seen) < 90 {
		t.Errorf("%d codes in 100 are different", len(seen))
	}
	if p := sold(queued(), Session{}, ledger.Plan{}); p.WithCode || p.AccessCode != "" {
		t.Errorf("a washer has the code %q", p.AccessCode)
	}
	if p := coded(failed(sold(queued(), Session{}, ledger.Plan{}), ReasonRefused)); p.AccessCode != "" {
		t.Errorf("a credit that failed has the code %q", p.AccessCode)
	}
}

func TestACreditThatIsSentAnewHasACode(t *testing.T) {
	t.Parallel()
	s := begin(t, plain, ledger.Paid)
	p := failed(s.p, ReasonAdopted)
	p.Attention, p.WithCode = ReasonAdopted, true
	p, err := Retry(Next(p, noon), time.Minute, noon)
	if err != nil || noteOf(coded(p)).Code == "" {
		t.Errorf("%v; want the note to hold a code", err)
	}
}

func TestACodeIsInNoWordToAMachineThatHasIt(t *testing.T) {
	t.Parallel()
	p := queued()
	p.WithCode, p.AccessCode = true, "493817"
	if got := noteOf(p).Code; got != "493817" {
		t.Errorf("the note's code is %q", got)
	}
	p.Machine, p.Tell = ledger.Started, "ended"
	if got := noteOf(p).Code; got != "" {
		t.Errorf("the word that it is ended holds the code %q", got)
	}
	if got := hidden(p, `note {"code":"493817"} refused`); got != `note {"code":"[code]"} refused` {
		t.Errorf("kept is %s", got)
	}
}
