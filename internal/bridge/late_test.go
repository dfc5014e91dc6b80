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
	l.took(p, post, errors.New("no answer"), at(0), at(0), at(0))
	l.took(p, post, nil, at(310), at(310), at(310)) // during a probe that began at 300
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

// The last call of an outage may fail after a probe has shown that the outage is over.
func TestCallOfAnOutageBlamesNoDevice(t *testing.T) {
	t.Parallel()
	var l lateness
	at := func(seconds int) time.Time { return midday.Add(time.Duration(seconds) * time.Second) }
	p := unsent()
	post := payment.Outcome{Action: payment.StepPostNote}
	l.took(p, post, errors.New("no answer"), at(0), at(15), at(15))
	l.answered(false, at(345), at(360))
	l.answered(true, at(400), at(401))
	l.took(p, post, errors.New("no answer"), at(395), at(410), at(410))
	if l.of(p.DeviceUID, at(900)) {
		t.Error("a call that began during the outage stops the device's sales")
	}
	l.took(p, post, errors.New("no answer"), at(420), at(435), at(435))
	if !l.of(p.DeviceUID, at(900)) {
		t.Error("a call that began after the outage does not")
	}
}
