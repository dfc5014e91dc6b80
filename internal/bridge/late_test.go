package bridge

import (
	"errors"
	"testing"
	"time"

	"notepay/internal/payment"
)

func TestProbeOvertakenByANote(t *testing.T) {
	t.Parallel()
	var l lateness
	at := func(seconds int) time.Time { return midday.Add(time.Duration(seconds) * time.Second) }
	p := unsent()
	post := payment.Outcome{Action: payment.StepPostNote}
	l.took(p, post, errors.New("no answer"), at(0), at(0))
	l.took(p, post, nil, at(310), at(310)) // during a probe that began at 300
	if l.answered(false, at(300), at(315)) || l.isDown() {
		t.Error("a probe that failed after Notehub took a note stops sales")
	}
	if !l.answered(false, at(345), at(360)) || !l.isDown() {
		t.Error("a probe that began after it does not")
	}
	if !l.answered(true, at(390), at(391)) || l.isDown() {
		t.Error("one that succeeds does not end it")
	}
}
