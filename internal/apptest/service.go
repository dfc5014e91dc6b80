package apptest

import (
	"fmt"
	"net/http"
	"sync"
)

// All runs f n times at once.
func (w *World) All(n int, f func(int)) {
	var wait sync.WaitGroup
	for i := range n {
		wait.Go(func() { f(i) })
	}
	wait.Wait()
}

// Resend sends the event of an object once more; it has to be answered with 200.
func (w *World) Resend(object, kind string) {
	for _, e := range w.Stripe.Events() {
		if e.ObjectID == object && e.Type == kind {
			// a service that has just started may ask for it again
			w.Until("the repeated event is accepted", func() bool {
				status, err := w.Stripe.Send(e.ID)
				return err == nil && status == http.StatusOK
			})
		}
	}
}

func (w *World) Stopped(s *Service) {
	w.Helper()
	if err := s.Stop(); err != nil {
		w.Errorf("stop: %v", err)
	}
}

// ActiveLinks compares Stripe's active links with what they should be: device to price.
func (w *World) ActiveLinks(want map[string]string) {
	w.Helper()
	got := map[string]string{}
	for _, l := range w.Stripe.Links() {
		if l.Active {
			if _, twice := got[l.DeviceUID]; twice {
				w.Errorf("%s has two active links", l.DeviceUID)
			}
			got[l.DeviceUID] = l.PriceID
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		w.Errorf("active links %v; want %v", got, want)
	}
}
