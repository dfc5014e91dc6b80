package console

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/uid"
	"notepay/internal/web"
)

const (
	auditsPerPage = 100
	// maxAuditScan bounds the changes that one page reads for a search.
	maxAuditScan = 5000
)

// auditFilter selects changes.
type auditFilter struct {
	Subject string // a reference, a machine's name or UID, or a person's name; "" for all
	Kind    string // a key of auditKinds, "" for all
}

func auditFilterOf(q url.Values) auditFilter {
	return auditFilter{strings.TrimSpace(q.Get("subject")), q.Get("kind")}
}

// auditKind is a group of changes.
type auditKind struct{ Key, Text string }

// auditKinds returns the groups in the order of the page.
func auditKinds() []auditKind {
	return []auditKind{
		{Key: "refund", Text: "refunds"},
		{Key: "payment", Text: "other changes of payments"},
		{Key: "machine", Text: "machines"},
		{Key: "people", Text: "people and tokens"},
	}
}

// auditKindOf returns the key of the group to which a change belongs.
func auditKindOf(what string) string {
	switch what {
	case "refund", "refund_again":
		return "refund"
	case "pause", "resume", "maintenance", "maintenance_end", "start":
		return "machine"
	}
	if peopleWords(what) != what {
		return "people"
	}
	return "payment"
}

// selection returns how a filter selects changes: by a subject that the ledger has an index for, or "",
// and by a function.
func (c *Console) selection(f auditFilter) (subject string, matches func(ledger.Audit) bool) {
	text, devices := f.Subject, map[string]bool{}
	if reference.MatchString(text) {
		subject = text
	} else if text != "" {
		found := c.named(text)
		if i := slices.IndexFunc(found, func(d entry) bool { return d.isCalled(text) }); i >= 0 {
			found = found[i : i+1] // without devices with longer names
		}
		for _, d := range found {
			devices[d.UID] = true
		}
		if id := uid.Of(text); uid.Valid(id) { // also one that was removed
			subject = id
		}
	}
	return subject, func(a ledger.Audit) bool {
		if f.Kind != "" && auditKindOf(a.What) != f.Kind {
			return false
		}
		return text == "" || subject != "" || devices[a.Subject] || strings.EqualFold(a.Subject, text) ||
			strings.EqualFold(strings.TrimPrefix(a.Who, "token "), text) || strings.EqualFold(a.Who, text)
	}
}

// audits lists changes like ledger.Audits. It reads at most maxAuditScan of them, so it may return fewer
// than limit, and yet the cursor of the next page.
func (c *Console) audits(ctx context.Context, f auditFilter, limit int, cursor string) (
	list []ledger.Audit, next string, err error,
) {
	subject, matches := c.selection(f)
	if f == (auditFilter{}) {
		return c.Ledger.Audits(ctx, "", limit, cursor)
	}
	for range maxAuditScan / exportBatch {
		batch, after, err := c.Ledger.Audits(ctx, subject, exportBatch, cursor)
		if err != nil {
			return nil, "", err
		}
		for i, a := range batch {
			if !matches(a) {
				continue
			}
			if list = append(list, a); len(list) == limit && (after != "" || i+1 < len(batch)) {
				return list, a.ID, nil
			}
		}
		if cursor = after; cursor == "" {
			break
		}
	}
	return list, cursor, nil
}

type auditPage struct {
	auditFilter
	Kinds []auditKind
	Rows  []auditRow
	Next  string // address, "" for none
}

// auditRow is a change with what people call its subject.
type auditRow struct {
	ledger.Audit
	Name string // "" if it is the subject itself
}

// audit lists who changed what.
func (c *Console) audit(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	page := auditPage{auditFilter: auditFilterOf(q), Kinds: auditKinds()}
	list, next, err := c.audits(r.Context(), page.auditFilter, auditsPerPage, q.Get("cursor"))
	if err != nil {
		return err
	}
	if page.Rows, err = c.auditRows(r.Context(), c.langOf(r), list); err != nil {
		return err
	}
	if next != "" {
		page.Next = "/operator/audit?" + with(q, "cursor", next)
	}
	return c.write(w, r, "audit", view{Title: "Audit log", Nav: "audit", Data: page})
}

// auditRows adds the names of machines, and what payments were about.
func (c *Console) auditRows(ctx context.Context, l lang, list []ledger.Audit) ([]auditRow, error) {
	var ids []string
	for _, a := range list {
		if strings.HasPrefix(a.Subject, "cr_") && !slices.Contains(ids, a.Subject) {
			ids = append(ids, a.Subject)
		}
	}
	payments, err := c.Ledger.PaymentsOf(ctx, ids)
	if err != nil {
		return nil, err
	}
	rows := make([]auditRow, len(list))
	for i, a := range list {
		if rows[i].Audit = a; a.After == a.Before {
			rows[i].Before, rows[i].After = "", ""
		}
		at := slices.IndexFunc(payments, func(p payment.Payment) bool { return p.ID == a.Subject })
		if d := c.Fleet.Device(a.Subject); d != nil {
			rows[i].Name = web.MachineName(d.Name, d.UID)
		} else if at >= 0 {
			rows[i].Name = web.MachineName(payments[at].DeviceName, payments[at].DeviceUID)
			if payments[at].Amount > 0 {
				rows[i].Name += ", " + l.money(payments[at].Amount, payments[at].Currency)
			}
		}
	}
	return rows, nil
}
