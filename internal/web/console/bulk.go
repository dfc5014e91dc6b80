package console

import (
	"errors"
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

// maxBulk bounds what one press changes.
const maxBulk = 500

// result says what an action on many machines or payments did.
type result struct {
	What string // such as "Paused"
	Done int
	Left []leftOut
	Back string
}

// leftOut are machines or payments that were not changed, for one reason.
type leftOut struct {
	Why   string
	Count int
	Some  []named // a few of them
}

type named struct{ Path, Name string }

// maxNamed is how many of those that were left out are named.
const maxNamed = 10

// leave adds something that was left out.
func (r *result) leave(why, path, name string) {
	i := slices.IndexFunc(r.Left, func(l leftOut) bool { return l.Why == why })
	if i < 0 {
		i = len(r.Left)
		r.Left = append(r.Left, leftOut{Why: why})
	}
	if r.Left[i].Count++; len(r.Left[i].Some) < maxNamed {
		r.Left[i].Some = append(r.Left[i].Some, named{path, name})
	}
}

// More returns how many are not named.
func (l leftOut) More() int { return l.Count - len(l.Some) }

// showResult answers with what an action did.
func (c *Console) showResult(w http.ResponseWriter, r *http.Request, nav string, done result) error {
	done.Back = localPath(r.PostFormValue("back"))
	return c.write(w, r, "result", view{Title: "Done", Nav: nav, Data: done})
}

// bulk applies an action to the chosen machines.
func (c *Console) bulk(w http.ResponseWriter, r *http.Request) error {
	if err := r.ParseForm(); err != nil {
		return c.problem(w, r, http.StatusBadRequest, "The form cannot be read. Nothing was changed.")
	}
	list, problem := c.chosen(r.PostForm)
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
	if err := c.Ledger.Update(r.Context(), consumeFormToken(r).Before); err != nil {
		return err
	}
	done := result{What: what}
	for _, l := range list {
		why, err := change(l)
		if errors.Is(err, ledger.ErrNotFound) {
			why, err = "It does not exist any more.", nil
		}
		if err != nil {
			return err
		}
		if why == "" {
			done.Done++
			continue
		}
		done.leave(why, devicePath(l.UID), web.MachineName(l.Name, l.UID))
	}
	return c.showResult(w, r, "devices", done)
}

// machineAction returns the function that applies an action to a machine. The function returns why it
// leaves a machine as it is, or "".
func (c *Console) machineAction(r *http.Request, action string, who bridge.Actor, wrong string) (
	change func(fleet.Listed) (string, error), what, problem string,
) {
	if wrong != "" {
		return nil, "", wrong
	}
	ctx := r.Context()
	switch action {
	case "pause":
		return func(l fleet.Listed) (string, error) {
			if l.Pause != nil && !l.Pause.Automatic {
				return "It was paused already.", nil
			}
			return "", c.Bridge.Pause(ctx, l.UID, who)
		}, "Paused", ""
	case "resume":
		return func(l fleet.Listed) (string, error) {
			if l.Pause == nil && l.Out == nil {
				return "It was not paused.", nil
			}
			return "", c.Bridge.Resume(ctx, l.UID, who)
		}, "On sale again", ""
	case "maintenance":
		from, to, problem := c.maintenanceOf(r)
		return func(l fleet.Listed) (string, error) {
			return "", c.Bridge.PlanMaintenance(ctx, l.UID, from, to, who)
		}, "Maintenance planned", problem
	case "maintenance_end":
		return func(l fleet.Listed) (string, error) {
			if l.Planned == nil {
				return "It had no planned maintenance.", nil
			}
			return "", c.Bridge.CancelMaintenance(ctx, l.UID, who)
		}, "Maintenance canceled", ""
	}
	return nil, "", "Choose what to do. Nothing was changed."
}

// chosen returns the machines that a form names: those with a mark, or all that its filter selects.
func (c *Console) chosen(form url.Values) (list []fleet.Listed, problem string) {
	if form.Get("all") != "" {
		list = c.machines(machineFilterOf(form))
	} else {
		for _, id := range form["uid"] {
			if d := c.Fleet.Device(uid.Of(id)); d != nil {
				list = append(list, c.Fleet.Listed(d)...)
			}
		}
	}
	if len(list) > maxBulk {
		return nil, "At most 500 machines can be changed at once. Filter by site. Nothing was changed."
	}
	return list, ""
}

// onAll applies an action to all payments that need attention for one reason. Each payment's own guard
// applies, and each is in the audit.
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
	if err := c.Ledger.Update(r.Context(), consumeFormToken(r).Before); err != nil {
		return err
	}
	done, who := result{What: action.What}, by(r)
	for _, p := range list {
		err := c.applyTo(r, action, p, who)
		switch {
		case errors.Is(err, payment.ErrState), errors.Is(err, ledger.ErrNotFound):
			done.leave("Its state does not allow this.", "/operator/payments/"+url.PathEscape(p.ID),
				web.MachineName(p.DeviceName, p.DeviceUID)+", "+web.Amount(p.Amount, p.Currency))
		case errors.Is(err, errOtherReason):
			done.leave("It changed in the meantime.", "/operator/payments/"+url.PathEscape(p.ID),
				web.MachineName(p.DeviceName, p.DeviceUID)+", "+web.Amount(p.Amount, p.Currency))
		case err != nil:
			return err
		default:
			done.Done++
		}
	}
	return c.showResult(w, r, "today", done)
}

// errOtherReason means that a payment does not need attention for the same reason any more.
var errOtherReason = errors.New("the payment needs no attention for this reason")

// applyTo applies an action to a payment, unless the reason of its review has changed.
func (c *Console) applyTo(r *http.Request, action groupAction, p payment.Payment, who bridge.Actor) error {
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
		_, err = c.Bridge.Refund(r.Context(), p.ID, 0, who, same)
	case "again":
		_, err = c.Bridge.RetryRefund(r.Context(), p.ID, who, same)
	case "retry":
		_, err = c.Bridge.Resend(r.Context(), p.ID, who, same)
	default:
		_, err = c.Bridge.Cancel(r.Context(), p.ID, who, same)
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
			Hint:  "notepay asks Stripe for each of these refunds again now. Nothing is refunded twice.",
			What:  "Refunds tried again",
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
