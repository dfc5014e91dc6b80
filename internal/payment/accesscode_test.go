package payment

import (
	"testing"
	"time"

	"notepay/internal/upstream"
)

func TestAccessCodeIsKeptWhileValid(t *testing.T) {
	t.Parallel()
	timed := func(s *tale) { s.p.Duration = time.Hour }
	for name, c := range map[string]struct {
		firmware firmware
		money    FundsStatus
		story    func(*tale)
		kept     bool
	}{
		"queued":                     {plain, Paid, func(s *tale) {}, true},
		"a post that is unclear":     {plain, Paid, func(s *tale) { s.post(upstream.Unknown) }, true},
		"sent":                       {plain, Paid, func(s *tale) { s.post(upstream.OK) }, true},
		"refused":                    {plain, Paid, func(s *tale) { s.post(upstream.Rejected) }, false},
		"run out before it was sent": {plain, Paid, func(s *tale) { s.later(time.Hour) }, false},
		"fetched":                    {plain, Paid, (*tale).fetched, true},
		"fetched, a day less a minute later": {
			plain, Paid, func(s *tale) { s.fetched(); s.later(24*time.Hour - 11*time.Minute) }, true,
		},
		"fetched, a day later": {
			plain, Paid, func(s *tale) { s.fetched(); s.later(24 * time.Hour) }, false,
		},
		"fetched for an hour, of which it is part": {
			plain, Paid, func(s *tale) { timed(s); s.fetched(); s.later(45 * time.Minute) }, true,
		},
		"fetched for an hour, that is over": {
			plain, Paid, func(s *tale) { timed(s); s.fetched(); s.later(time.Hour) }, false,
		},
		"fetched, and not confirmed yet": {confirms, Paid, (*tale).fetched, true},
		"never confirmed": {
			confirms, Paid, func(s *tale) { s.fetched(); s.later(time.Hour); s.silence() }, false,
		},
		"started with the money on hold": {confirms, Authorized, func(s *tale) { s.starts() }, true},
		"started for an hour, of which it is part": {
			confirms, Paid, func(s *tale) { timed(s); s.starts(); s.later(45 * time.Minute) }, true,
		},
		"started for an hour, that is over": {
			confirms, Paid, func(s *tale) { timed(s); s.starts(); s.later(time.Hour) }, false,
		},
		"started without an end": {
			confirms, Paid, func(s *tale) { s.starts(); s.later(23 * time.Hour) }, true,
		},
		"started without an end, a day ago": {
			confirms, Paid, func(s *tale) { s.starts(); s.later(24 * time.Hour) }, false,
		},
		"done": {
			confirms, Paid, func(s *tale) { s.starts(); s.says("done") }, false,
		},
		"the machine's door does not open": {
			confirms, Paid, func(s *tale) { s.fetched(); s.says("failed") }, false,
		},
		"a part of the money is back": {confirms, Paid, func(s *tale) { s.starts(); s.back(100) }, true},
		"the money is back":           {plain, Paid, func(s *tale) { s.fetched(); s.back(350) }, false},
		"the bank asks for the money back": {
			plain, Paid, func(s *tale) { s.fetched(); s.dispute("needs_response") }, false,
		},
		"fetched without an end, and not updated since": {
			plain, Paid, func(s *tale) { s.fetched(); s.now = s.now.Add(25 * time.Hour) }, false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := beginLife(t, c.firmware, c.money)
			s.p.NeedsAccessCode, s.p.AccessCode = true, "493817"
			c.story(s)
			if got := AccessCodeValid(s.p, s.now); got != c.kept {
				t.Errorf("it opens the machine: %v; want %v (%+v)", got, c.kept, s.p)
			}
			if p := Next(s.p, s.now); (p.AccessCode != "") != c.kept ||
				p.AccessCode != "" && p.Delivery != Queued && p.Delivery != Sent && p.Step == NoStep {
				t.Errorf("the ledger holds %q, next is %q; want it kept %v, until a step ends it", p.AccessCode,
					p.Step, c.kept)
			}
		})
	}
}

func TestAssignAccessCode(t *testing.T) {
	t.Parallel()
	locker := ApplyOffer(queuedPayment(), CheckoutSession{}, Offer{AccessCode: true}, "493817")
	if !locker.NeedsAccessCode || locker.AccessCode != "493817" {
		t.Errorf("a locker's code is %q, needed %v; want 493817", locker.AccessCode, locker.NeedsAccessCode)
	}
	if again := AssignAccessCode(locker, "111111"); again != locker {
		t.Errorf("a second code replaces the first: %q; want 493817", again.AccessCode)
	}
	washer := ApplyOffer(queuedPayment(), CheckoutSession{}, Offer{}, "493817")
	if washer.NeedsAccessCode || washer.AccessCode != "" {
		t.Errorf("a washer has the code %q", washer.AccessCode)
	}
	failed := Fail(queuedPayment(), ReasonRefused)
	failed.NeedsAccessCode = true
	if p := AssignAccessCode(failed, "493817"); p.AccessCode != "" {
		t.Errorf("a failed credit has the code %q", p.AccessCode)
	}
}

func TestResendAssignsAnAccessCode(t *testing.T) {
	t.Parallel()
	s := beginLife(t, plain, Paid)
	p := Fail(s.p, ReasonAdopted)
	p.ReviewReason, p.NeedsAccessCode = ReasonAdopted, true
	p, err := Resend(Next(p, noon), time.Minute, noon)
	if err != nil || NoteOf(AssignAccessCode(p, "493817")).Code == "" {
		t.Errorf("%v; want the note to hold a code", err)
	}
}

func TestNoticeHasNoAccessCode(t *testing.T) {
	t.Parallel()
	p := queuedPayment()
	p.NeedsAccessCode, p.AccessCode = true, "493817"
	if got := NoteOf(p).Code; got != "493817" {
		t.Errorf("the note's code is %q", got)
	}
	p.Delivery, p.PendingNotice = Started, "ended"
	if got := NoteOf(p).Code; got != "" {
		t.Errorf("the word that it is ended holds the code %q", got)
	}
	if got := RedactCode(p, `note {"code":"493817"} refused`); got != `note {"code":"[code]"} refused` {
		t.Errorf("kept is %s", got)
	}
}
