package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"notepay/internal/bridge"
	"notepay/internal/fleet"
	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/uid"
	"notepay/internal/web"
)

const (
	// maxBulk bounds what one press changes.
	maxBulk = 500
	// maxBulkTime bounds how long one press takes. Browsers and proxies wait longer.
	maxBulkTime = 30 * time.Second
)

// result says what an action on many machines or payments did.
type result struct {
	What   string // such as "Paused"
	Done   int
	Failed int
	Left   []leftOut
	Again  []field // of the form that tries those that failed once more; empty: there is none
	Action string  // address of that form
	Back   string

	lang  lang  // of Left
	first error // of those that failed
}

// leftOut are machines or payments that were not changed, for one reason.
type leftOut struct {
	Why    string
	Failed bool // another press may change them
	Count  int
	Some   []named // a few of them
}

type named struct{ Path, Name string }

// field is a hidden field of a form.
type field struct{ Name, Value string }

// maxNamed is how many of those that were left out are named.
const maxNamed = 10

// add counts one machine or payment. why says why the action left it as it is, or is "". err is its
// error.
func (r *result) add(one named, why string, err error) {
	switch {
	case errors.Is(err, errPressedTwice):
		r.leave(leftOut{Why: "An earlier press of the button changed it."}, one)
	case errors.Is(err, ledger.ErrNotFound):
		r.leave(leftOut{Why: "It does not exist any more."}, one)
	case errors.Is(err, context.DeadlineExceeded):
		r.fail("There was no time left for it.", one, err)
	case err != nil:
		reason := sentence(innermost(err).Error())
		r.fail(r.lang.T("The change could not be stored: {reason}", "reason", reason), one, err)
	case why != "":
		r.leave(leftOut{Why: why}, one)
	default:
		r.Done++
	}
}

// fail adds something that another press may change.
func (r *result) fail(why string, one named, err error) {
	if r.Failed++; r.first == nil {
		r.first = err
	}
	r.leave(leftOut{Why: why, Failed: true}, one)
}

// leave adds something that was left out.
func (r *result) leave(l leftOut, one named) {
	i := slices.IndexFunc(r.Left, func(known leftOut) bool { return known.Why == l.Why })
	if i < 0 {
		i = len(r.Left)
		r.Left = append(r.Left, l)
	}
	if r.Left[i].Count++; len(r.Left[i].Some) < maxNamed {
		r.Left[i].Some = append(r.Left[i].Some, one)
	}
}

// innermost returns the cause of an error, which is the same text for all machines.
func innermost(err error) error {
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return err
}

// More returns how many are not named.
func (l leftOut) More() int { return l.Count - len(l.Some) }

// showResult answers with what an action did. The button's token is consumed only if nothing failed,
// so that another press does the rest.
func (c *Console) showResult(w http.ResponseWriter, r *http.Request, nav string, done result) error {
	done.Back = localPath(r.PostFormValue("back"))
	v := view{Title: "Done", Nav: nav, Data: done}
	if done.Failed > 0 {
		v.Title = "Not everything was done"
		return web.Shown(fmt.Errorf("%d failed, first %w", done.Failed, done.first), c.write(w, r, "result", v))
	}
	err := c.Ledger.Update(r.Context(), consumeFormToken(r).Before)
	if shown := c.write(w, r, "result", v); shown != nil {
		return errors.Join(err, shown)
	}
	if err != nil && !errors.Is(err, errPressedTwice) { // or both presses run at once
		return &web.Answered{Err: err}
	}
	return nil
}

// bulkContext returns the context of an action on many. It goes on when the browser has left, so that
// what one press begins is finished.
func bulkContext(r *http.Request) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(r.Context()), maxBulkTime)
}

// bulk applies an action to the chosen machines, one after the other. It continues after a failure.
// Each machine consumes the button's token for itself, so that another press changes only the others.
func (c *Console) bulk(w http.ResponseWriter, r *http.Request) error {
	if err := r.ParseForm(); err != nil {
		return c.problem(w, r, http.StatusBadRequest, "The form cannot be read. Nothing was changed.")
	}
	list, gone, problem := c.chosen(r.PostForm)
	action, who := r.PostForm.Get("action"), by(r)
	switch {
	case problem != "":
	case len(list) == 0:
		problem = "Choose at least one machine. Nothing was changed."
	case who.Reason == "" && (action == "pause" || action == "maintenance"):
		problem = "Please enter a reason. It is kept in the audit log. Nothing was changed."
	}
	change, what, problem := c.machineAction(r, action, who, problem)
	if problem != "" {
		return c.problem(w, r, http.StatusBadRequest, problem)
	}
	ctx, cancel := bulkContext(r)
	defer cancel()
	done, failed := result{What: what, lang: c.langOf(r)}, []field(nil)
	for _, id := range gone {
		done.add(named{devicePath(id), id}, "", ledger.ErrNotFound)
	}
	for _, l := range list {
		before := done.Failed
		why, err := change(ctx, l, consumeFormTokenOf(r, l.UID))
		if done.add(named{devicePath(l.UID), web.MachineName(l.Name, l.UID)}, why, err); done.Failed > before {
			failed = append(failed, field{"uid", l.UID})
		}
	}
	if len(failed) > 0 {
		for _, name := range []string{"action", "reason", "from", "to"} {
			done.Again = append(done.Again, field{name, r.PostForm.Get(name)})
		}
		done.Again, done.Action = append(done.Again, failed...), r.URL.Path
	}
	return c.showResult(w, r, "devices", done)
}

// machineChange applies an action to a machine. It returns why it leaves the machine as it is, or "".
type machineChange = func(ctx context.Context, l fleet.Listed, also bridge.Also) (why string, err error)

// machineAction returns the function that applies an action.
func (c *Console) machineAction(r *http.Request, action string, who bridge.Actor, wrong string) (
	change machineChange, what, problem string,
) {
	if wrong != "" {
		return nil, "", wrong
	}
	switch action {
	case "pause":
		return func(ctx context.Context, l fleet.Listed, also bridge.Also) (string, error) {
			if l.Pause != nil && !l.Pause.Automatic {
				return "It was paused already.", nil
			}
			return "", c.Bridge.Pause(ctx, l.UID, who, also)
		}, "Paused", ""
	case "resume":
		return func(ctx context.Context, l fleet.Listed, also bridge.Also) (string, error) {
			if l.Pause == nil && l.Out == nil {
				return "It was not paused.", nil
			}
			return "", c.Bridge.Resume(ctx, l.UID, who, also)
		}, "On sale again", ""
	case "maintenance":
		from, to, problem := c.maintenanceOf(r)
		return func(ctx context.Context, l fleet.Listed, also bridge.Also) (string, error) {
			return "", c.Bridge.PlanMaintenance(ctx, l.UID, from, to, who, also)
		}, "Maintenance planned", problem
	case "maintenance_end":
		return func(ctx context.Context, l fleet.Listed, also bridge.Also) (string, error) {
			if l.Planned == nil {
				return "It had no planned maintenance.", nil
			}
			return "", c.Bridge.CancelMaintenance(ctx, l.UID, who, also)
		}, "Maintenance canceled", ""
	}
	return nil, "", "Choose what to do. Nothing was changed."
}

// chosen returns the machines that a form names: those with a mark, or all that its filter selects.
// gone has the UIDs of those that do not exist any more.
func (c *Console) chosen(form url.Values) (list []fleet.Listed, gone []string, problem string) {
	if form.Get("all") != "" {
		list = c.machines(machineFilterOf(form))
	} else {
		for _, id := range form["uid"] {
			if d := c.Fleet.Device(uid.Of(id)); d != nil {
				list = append(list, c.Fleet.Listed(d)...)
			} else {
				gone = append(gone, id)
			}
		}
	}
	if len(list)+len(gone) > maxBulk {
		return nil, nil, "At most 500 machines can be changed at once. Filter by site. Nothing was changed."
	}
	return list, gone, ""
}

// onAll applies an action to all payments that need attention for one reason, and continues after a
// failure. Each payment's own guard applies, and each is in the audit.
func (c *Console) onAll(w http.ResponseWriter, r *http.Request) error {
	reason := r.PathValue("reason")
	action, known := groupActionOf(r.PathValue("action"))
	if !known {
		return c.problem(w, r, http.StatusNotFound, "Page not found.")
	}
	list, err := c.Ledger.PaymentsOfReview(r.Context(), reason, maxBulk)
	if err != nil {
		return err
	}
	ctx, cancel := bulkContext(r)
	defer cancel()
	done, who := result{What: action.What, lang: c.langOf(r)}, by(r)
	for _, p := range list {
		why, err := "", c.applyTo(ctx, action, p, who, consumeFormTokenOf(r, p.ID))
		switch {
		case errors.Is(err, payment.ErrState), errors.Is(err, ledger.ErrNotFound):
			why, err = "Its state does not allow this.", nil
		case errors.Is(err, errOtherReason):
			why, err = "It changed in the meantime.", nil
		}
		done.add(named{
			"/operator/payments/" + url.PathEscape(p.ID),
			web.MachineName(p.DeviceName, p.DeviceUID) + ", " + done.lang.money(p.Amount, p.Currency),
		}, why, err)
	}
	return c.showResult(w, r, "today", done)
}

// errOtherReason means that a payment does not need attention for the same reason any more.
var errOtherReason = errors.New("the payment needs no attention for this reason")

// applyTo applies an action to a payment, unless the reason of its review has changed.
func (c *Console) applyTo(
	ctx context.Context, action groupAction, p payment.Payment, who bridge.Actor, also bridge.Also,
) error {
	same := bridge.Also{Before: func(tx *ledger.Tx) error {
		now, err := tx.Payment(p.ID)
		switch {
		case err != nil:
			return err
		case now.ReviewReason != p.ReviewReason:
			return errOtherReason
		case !action.Allows(now, c.Ledger.Now()):
			return payment.ErrState
		}
		return nil
	}}
	var err error
	switch action.Key {
	case "refund", "release":
		_, err = c.Bridge.Refund(ctx, p.ID, 0, who, also, same)
	case "again":
		_, err = c.Bridge.RetryRefund(ctx, p.ID, who, also, same)
	case "retry":
		_, err = c.Bridge.Resend(ctx, p.ID, who, also, same)
	default:
		_, err = c.Bridge.Cancel(ctx, p.ID, who, also, same)
	}
	return err
}

// groupAction is an action on all payments of a group.
type groupAction struct {
	Key    string
	Label  string // of the button, such as "Refund all"
	Hint   string // what happens
	What   string // what was done, such as "Refunds requested"
	Allows func(p payment.Payment, now time.Time) bool
}

// groupActions returns the actions in the order of their buttons. Each leaves out the payments for which
// it means something else: a hold is released and not refunded.
func groupActions() []groupAction {
	held := func(p payment.Payment) bool { return p.Funds == payment.Authorized }
	refundable := func(p payment.Payment, now time.Time) bool {
		_, err := payment.Refund(p, 0, now)
		return err == nil
	}
	return []groupAction{
		{
			Key:    "refund",
			Label:  "Refund all",
			Hint:   "Each of these payments is refunded in full.",
			What:   "Refunds requested",
			Allows: func(p payment.Payment, now time.Time) bool { return !held(p) && refundable(p, now) },
		},
		{
			Key:   "again",
			Label: "Try all refunds again",
			Hint: "notepay asks Stripe for each of these refunds again now. " +
				"Leave out one of which you have refunded a part in Stripe yourself.",
			What: "Refunds tried again",
			Allows: func(p payment.Payment, now time.Time) bool {
				_, err := payment.RetryRefund(p, now)
				return err == nil
			},
		},
		{
			Key:    "release",
			Label:  "Release all holds",
			Hint:   "These customers are not charged.",
			What:   "Holds being released",
			Allows: func(p payment.Payment, now time.Time) bool { return held(p) && refundable(p, now) },
		},
		{
			Key:   "retry",
			Label: "Resend all credits",
			Hint:  "notepay sends each credit to its machine again. No machine starts twice.",
			What:  "Credits sent again",
			Allows: func(p payment.Payment, now time.Time) bool {
				_, err := payment.Resend(p, time.Hour, now)
				return err == nil
			},
		},
		{
			Key:   "end",
			Label: "Cancel all starts",
			Hint:  "notepay takes the credits back, and the customers get their money back.",
			What:  "Starts canceled",
			Allows: func(p payment.Payment, now time.Time) bool {
				_, err := payment.Cancel(p, now)
				return err == nil && !payment.Dismissable(p) && p.Delivery != payment.Started
			},
		},
		{
			Key:    "dismiss",
			Label:  "Dismiss all",
			Hint:   "These payments no longer need attention. Nothing else changes.",
			What:   "Dismissed",
			Allows: func(p payment.Payment, _ time.Time) bool { return payment.Dismissable(p) },
		},
	}
}

// groupActionOf returns an action by its key.
func groupActionOf(key string) (groupAction, bool) {
	actions := groupActions()
	i := slices.IndexFunc(actions, func(a groupAction) bool { return a.Key == key })
	if i < 0 {
		return groupAction{}, false
	}
	return actions[i], true
}

// offered is an action with the payments to which it applies.
type offered struct {
	groupAction
	Count int
	Sums  string // what it refunds, such as "12.00 EUR"; "" if it moves no money
}

// offeredActions returns the actions that apply to at least two of a group's payments.
func offeredActions(list []payment.Payment, now time.Time) (actions []offered) {
	for _, action := range groupActions() {
		o := offered{groupAction: action}
		sums := map[string]int64{}
		for _, p := range list {
			if action.Allows(p, now) {
				o.Count++
				sums[p.Currency] += payment.Refundable(p)
			}
		}
		if o.Count < 2 {
			continue
		}
		if action.Key == "refund" {
			o.Sums = amountsOf(sums)
		}
		actions = append(actions, o)
	}
	return actions
}

// amountsOf puts sums by currency into words.
func amountsOf(sums map[string]int64) string {
	var texts []string
	for currency, sum := range sums {
		texts = append(texts, web.Amount(sum, currency))
	}
	slices.Sort(texts)
	return strings.Join(texts, " and ")
}
