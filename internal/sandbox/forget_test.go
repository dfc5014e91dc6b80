package sandbox

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestForget requires old payments and events to be gone and newer ones to be found, listed and
// delivered again as before. A payment with a refund stays, and so do those after it.
func TestForget(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, got, link := payable(t, StripeConfig{})
		pay := func() Session {
			paid, err := s.Pay(link.URL, PayOptions{})
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
			return paid
		}
		begun := s.Now()
		first, second, third, fourth := pay(), pay(), pay(), pay()
		s.Refund(third.ID, 0)
		last := s.LastEvent()

		s.Forget(begun.Add(90*time.Second), begun.Add(time.Second))
		s.Forget(begun.Add(time.Hour), begun.Add(time.Second))
		for session, want := range map[string]int{first.ID: 404, second.ID: 404, third.ID: 200, fourth.ID: 200} {
			status, answer, _ := stripeCall(t, s, "GET /v1/checkout/sessions/"+session, "expand[]=payment_intent")
			if status != want || status == 200 && at(answer, "payment_intent.status") != "succeeded" {
				t.Errorf("session %s: %d %v; want %d", session, status, answer, want)
			}
		}
		_, list, _ := stripeCall(t, s, "GET /v1/events", "type=checkout.session.completed")
		_, next, _ := stripeCall(t, s, "GET /v1/events",
			"type=checkout.session.completed&limit=1&starting_after="+at(list, "data.0.id"))
		var listed []string
		for _, n := range []string{"0", "1", "2", "3"} {
			listed = append(listed, at(list, "data."+n+".data.object.id"))
		}
		listed = append(listed, at(next, "data.0.data.object.id"))
		if want := []string{fourth.ID, third.ID, second.ID, "nothing", third.ID}; !slices.Equal(listed, want) {
			t.Errorf("listed %v; want %v", listed, want)
		}

		synctest.Wait()
		before := len(got.seen())
		for _, e := range s.Events() {
			if e.ObjectID == second.ID {
				if status, err := s.Send(e.ID); status != 200 || err != nil {
					t.Errorf("sent again: %d, %v; want 200", status, err)
				}
			}
		}
		if sent := len(got.seen()) - before; sent != 1 {
			t.Errorf("%d webhooks were sent again; want 1", sent)
		}
		if since := s.EventsAfter(last); len(since) != 0 {
			t.Errorf("events after the last one: %v; want none", since)
		}
		fifth := pay()
		if since := s.EventsAfter(last); len(since) != 3 || since[0].ObjectID != fifth.ID {
			t.Errorf("events after the last one: %v; want the 3 of %s", since, fifth.ID)
		}
	})
}

// TestNotehubForgets requires notes to be forgotten up to the first that the machine has not fetched.
func TestNotehubForgets(t *testing.T) {
	t.Parallel()
	n := newHub(t)
	for i := 1; i <= 3; i++ {
		hubCall(t, n, "POST", "/devices/"+machine1+"/notes/payment.qi", fmt.Sprintf(`{"body":{"n":%d}}`, i))
		if i == 1 {
			n.Fetch(machine1, "payment.qi")
		}
	}
	n.Forget(n.Now().Add(time.Minute))
	notes := n.Notes(machine1)
	if len(notes) != 2 || notes[0].Body["n"] != 2.0 {
		t.Errorf("got %v; want the 2 notes that are pending", notes)
	}
	n.Fetch(machine1, "payment.qi")
	n.Forget(n.Now().Add(-time.Minute))
	if notes := n.Notes(machine1); len(notes) != 2 {
		t.Errorf("got %v; want the 2 notes that are not old", notes)
	}
	n.Forget(n.Now().Add(time.Minute))
	if notes := n.Notes(machine1); len(notes) != 0 {
		t.Errorf("got %v; want none", notes)
	}
}
