package notehub

import (
	"cmp"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/fixture"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
	"notepay/internal/upstream"
)

func TestPendingNotes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newTestHub(t, nil)
		fixture.Meant(
			t, "credit",
			h.client.PostNote(t.Context(), fixture.Washer, PaymentFile,
				payment.Note{PaymentStatus: "completed", CreditID: "cr_1"}),
			upstream.OK,
		)
		fixture.Meant(
			t, "its end",
			h.client.PostNote(t.Context(), fixture.Washer, PaymentFile,
				payment.Note{PaymentStatus: "refunded", CreditID: "cr_1"}),
			upstream.OK,
		)
		got, err := h.client.PendingNotes(t.Context(), fixture.Washer, PaymentFile)
		fixture.Meant(t, "pending", err, upstream.OK)
		var want []payment.PendingNote
		for _, note := range h.Pending(fixture.Washer, PaymentFile) {
			want = append(
				want,
				payment.PendingNote{ID: note.ID, CreditID: "cr_1", PaymentStatus: note.Body["payment_status"].(string)},
			)
		}
		byStatus := func(a, b payment.PendingNote) int { return cmp.Compare(a.PaymentStatus, b.PaymentStatus) }
		if slices.SortFunc(got, byStatus); !slices.Equal(got, want) {
			t.Errorf("%+v; want %+v", got, want)
		}
	})
}

func TestPendingNotesKeepsOursBesideOddNotes(t *testing.T) {
	t.Parallel()
	for _, strange := range []string{
		`"hello"`, `[]`, `null`, `{"credit_id":7}`, `{"alg":"secp384r1-aes256cbc"}`, `{"timestamp":"noon"}`,
	} {
		synctest.Test(t, func(t *testing.T) {
			h := newTestHub(t, nil)
			h.Next(
				fixture.HubNotes,
				sandbox.Outcome{
					Status: 200,
					Body: `{"notes":{"1:1":{"body":` + strange +
						`},"1:2":{"body":{"credit_id":"cr_2","payment_status":"completed"}},"1:3":{}}}`,
				},
			)
			got, err := h.client.PendingNotes(t.Context(), fixture.Washer, PaymentFile)
			fixture.Meant(t, strange, err, upstream.OK)
			ours := payment.PendingNote{ID: "1:2", CreditID: "cr_2", PaymentStatus: "completed"}
			if len(got) != 3 || !slices.Contains(got, ours) {
				t.Errorf("%s: %+v; want three notes, one of them %+v", strange, got, ours)
			}
		})
	}
}

func TestPendingNotesNeedsAList(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]upstream.Outcome{
		`{"changes":0,"total":0,"notes":{}}`:   upstream.OK,
		`{"notes":{}}`:                         upstream.OK,
		`{"changes":0,"total":0}`:              upstream.OK,
		`{"changes":0,"total":0,"notes":null}`: upstream.OK,
		`{}`:                                   upstream.Retryable,
		`null`:                                 upstream.Retryable,
		`[]`:                                   upstream.Retryable,
		`""`:                                   upstream.Retryable,
		``:                                     upstream.Retryable,
		fixture.ProxyPage:                      upstream.Retryable,
		`{"err":"no"}`:                         upstream.Retryable,
		`{"notes":null}`:                       upstream.Retryable,
		`{"notes":[]}`:                         upstream.Retryable,
		`{"notes":"none"}`:                     upstream.Retryable,
		`{"notes":{},"total":"none"}`:          upstream.Retryable,
		`{"changes":1,"total":1}`:              upstream.Retryable,
		`{"changes":2,"total":2,"notes":{}}`:   upstream.Retryable,
		`{"total":2,"notes":{"1:1":{"body":{}}}}`:                   upstream.Retryable,
		`{"notes":{},"err":"the queue cannot be read"}`:             upstream.Retryable,
		`{"changes":0,"total":0,"err":"no"}`:                        upstream.Retryable,
		`{"changes":0,"total":0,"notes":null,"Error":{"code":500}}`: upstream.Retryable,
	} {
		synctest.Test(t, func(t *testing.T) {
			h := newTestHub(t, nil)
			h.Next(fixture.HubNotes, sandbox.Outcome{Status: 200, Body: body})
			notes, err := h.client.PendingNotes(t.Context(), fixture.Washer, PaymentFile)
			fixture.Meant(t, body, err, want)
			if len(notes) != 0 {
				t.Errorf("%s: %v; want no notes", body, notes)
			}
		})
	}
}

func TestPendingNotesAreDecodedOneByOne(t *testing.T) {
	t.Parallel()
	for _, odd := range []string{
		`7`, `null`, `"x"`, `[]`, `{"body":7}`, `{"body":{"credit_id":{},"payment_status":"completed"}}`,
	} {
		synctest.Test(t, func(t *testing.T) {
			h := newTestHub(t, nil)
			h.Next(
				fixture.HubNotes,
				sandbox.Outcome{
					Status: 200,
					Body: `{"notes":{"1:1":` + odd +
						`,"1:2":{"body":{"credit_id":"cr_2","payment_status":"completed"}}}}`,
				},
			)
			got, err := h.client.PendingNotes(t.Context(), fixture.Washer, PaymentFile)
			fixture.Meant(t, odd, err, upstream.OK)
			if ours := (payment.PendingNote{ID: "1:2", CreditID: "cr_2", PaymentStatus: "completed"}); len(got) != 2 ||
				!slices.Contains(got, ours) {
				t.Errorf("%s: %+v; want two notes, one of them %+v", odd, got, ours)
			}
		})
	}
}

func TestDeleteNote(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newTestHub(t, nil)
		fixture.Meant(t, "first", h.post(), upstream.OK)
		fixture.Meant(t, "second", h.post(), upstream.OK)
		pending := h.Pending(fixture.Washer, PaymentFile)
		fixture.Meant(t, "recall",
			h.client.DeleteNote(t.Context(), fixture.Washer, PaymentFile, pending[0].ID), upstream.OK)
		if left := h.Pending(fixture.Washer, PaymentFile); len(left) != 1 || left[0].ID != pending[1].ID {
			t.Errorf("%+v are left; want the second", left)
		}
		fixture.Meant(t, "again",
			h.client.DeleteNote(t.Context(), fixture.Washer, PaymentFile, pending[0].ID), upstream.Rejected)
		h.Fetch(fixture.Washer, PaymentFile)
		fixture.Meant(
			t, "after the fetch", h.client.DeleteNote(t.Context(), fixture.Washer, PaymentFile, pending[1].ID),
			upstream.Rejected,
		)
		fixture.Meant(
			t, "of an unknown device",
			h.client.DeleteNote(t.Context(), "dev:1", PaymentFile, "1:1"), upstream.Misconfigured,
		)
	})
}

// The answer of Notehub to a late recall is unknown (docs/vendors.md, U15). If it is 200, it looks
// like a deletion.
func TestDeleteNoteAfterTheDeviceFetchedIt(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name        string
		goneDeleted bool
		too         func(h *testHub) // makes the Notecard fetch the note first
		want        upstream.Outcome
	}{
		{
			"it was fetched, and Notehub says that there is none",
			false,
			func(h *testHub) { h.Fetch(fixture.Washer, PaymentFile) },
			upstream.Rejected,
		},
		{
			"it was fetched, and Notehub says 200",
			true,
			func(h *testHub) { h.Fetch(fixture.Washer, PaymentFile) },
			upstream.OK,
		},
		{
			"it is being fetched, and Notehub says that there is none",
			false,
			func(h *testHub) { h.RaceNextDelete(fixture.Washer, false) },
			upstream.Rejected,
		},
		{
			"it is being fetched, and Notehub says 200",
			false,
			func(h *testHub) { h.RaceNextDelete(fixture.Washer, true) },
			upstream.OK,
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := newTestHub(
					t,
					func(_ *Config, c *sandbox.NotehubConfig) { c.Unknown.GoneDeleted = row.goneDeleted },
				)
				fixture.Meant(t, "note", h.post(), upstream.OK)
				id := h.Pending(fixture.Washer, PaymentFile)[0].ID
				row.too(h)
				fixture.Meant(t, "recall", h.client.DeleteNote(t.Context(), fixture.Washer, PaymentFile, id), row.want)
				if note := h.Notes(fixture.Washer)[0]; !note.Fetched {
					t.Errorf("%+v; want it fetched", note)
				}
			})
		})
	}
}

func TestDeleteNoteClassifiesReplies(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		answer sandbox.Outcome
		want   upstream.Outcome
	}{
		{"200", sandbox.Outcome{Applied: true, Status: 200}, upstream.OK},
		{"204", sandbox.Outcome{Applied: true, Status: 204}, upstream.OK},
		{"404 that names the note", fixture.Saying(404, "note 1:1 {note-noexist}"), upstream.Rejected},
		{"404 that names the queue", fixture.Saying(404, "{notefile-noexist}"), upstream.Rejected},
		{"404 that names the queue in other words", fixture.Saying(404, "{file-noexist}"), upstream.Rejected},
		{"400 that names the note", fixture.Saying(400, "{note-noexist}"), upstream.Rejected},
		{"410 that names the note", fixture.Saying(410, "{note-noexist}"), upstream.Rejected},
		{"404 without a word", sandbox.Outcome{Status: 404}, upstream.Misconfigured},
		{"404 of a proxy", sandbox.Outcome{Status: 404, Body: fixture.ProxyPage}, upstream.Misconfigured},
		{
			"a proxy's page that quotes the token", sandbox.Outcome{Status: 404, Body: "<p>{note-noexist}</p>"},
			upstream.Misconfigured,
		},
		{"404 that names the device", fixture.Saying(404, "{device-noexist}"), upstream.Misconfigured},
		{"403 because the device is disabled", fixture.Saying(403, "{device-disabled}"), upstream.Misconfigured},
		{"404 that names the project", fixture.Saying(404, "{app-noexist}"), upstream.Misconfigured},
		{"400 by which Notehub refuses the call", fixture.Saying(400, "bad note id"), upstream.Misconfigured},
		{"403", fixture.Saying(403, "{access-denied}"), upstream.Misconfigured},
		{"405", sandbox.Outcome{Status: 405}, upstream.Misconfigured},
		{"429", sandbox.Outcome{Status: 429}, upstream.RateLimited},
		{"429 that names the note", fixture.Saying(429, "{note-noexist}"), upstream.RateLimited},
		{"500 that names the note", fixture.Saying(500, "{note-noexist}"), upstream.Unknown},
		{"503", sandbox.Outcome{Status: 503}, upstream.Unknown},
		{"cut after the effect", sandbox.Outcome{Applied: true}, upstream.Unknown},
		{"cut without the effect", sandbox.Outcome{}, upstream.Unknown},
		{"too slow", sandbox.Outcome{Applied: true, Status: 200, Delay: time.Hour}, upstream.Unknown},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := newTestHub(t, nil)
				fixture.Meant(t, "note", h.post(), upstream.OK)
				h.Next(fixture.HubDelete, row.answer)
				fixture.Meant(
					t, "recall",
					h.client.DeleteNote(t.Context(), fixture.Washer, PaymentFile, h.Pending(fixture.Washer,
						PaymentFile)[0].ID),
					row.want,
				)
				if n := h.Count(fixture.HubDelete); n != 1 {
					t.Errorf("%d attempts; want one", n)
				}
				if left := len(h.Pending(fixture.Washer, PaymentFile)); (left == 0) != row.answer.Applied {
					t.Errorf("%d notes are left; applied is %v", left, row.answer.Applied)
				}
			})
		})
	}
}

func TestDeleteNoteAcceptsOnlyAnAcknowledgment(t *testing.T) {
	t.Parallel()
	for _, row := range acknowledgments {
		synctest.Test(t, func(t *testing.T) {
			h := newTestHub(t, nil)
			h.Next(fixture.HubDelete, sandbox.Outcome{Status: 200, Body: row.body})
			fixture.Meant(t, row.name, h.client.DeleteNote(t.Context(), fixture.Washer, PaymentFile, "1:1"), row.want)
		})
	}
}
