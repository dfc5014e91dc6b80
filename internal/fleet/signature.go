package fleet

import (
	"context"
	"errors"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/message"
	"notepay/internal/problem"
)

// This file detects a second installation on the same Stripe account and Notehub project.
//
// Every process signs the same Payment Link: the first by id of those that stay. A process
// whose signature was overwritten signs again. One overwritten signature proves nothing, because
// Stripe may apply the last call of a process that has ended since. The second one was written in
// answer to ours, so another process is running. No ledger is part of it: a lost or restored ledger
// looks like any other restart.

// TwinsText tells the operator of another installation.
func TwinsText() message.Message {
	return message.New("Another installation works on the same Notehub project and Stripe account. " +
		"Both send each credit and refund. Stop one of them, or give it another project and account.")
}

const (
	// signatureDue is the kind of a hint that the shared link may have to be signed.
	signatureDue = "signature_due"
	// signatureRead is the kind of a hint that a list showed our signature on the shared link.
	signatureRead = "signature_read"
	// signPause is the time between two signatures, so that two installations do not keep Stripe
	// busy.
	signPause = 10 * time.Second
	// answersNeeded is how many of this process's signatures another one overwrites before it
	// counts as running.
	answersNeeded = 2
)

// signing is the state of this process's signature. Only the goroutine that follows the hints uses
// it.
type signing struct {
	on       string    // the id of the link that carried our signature, or ""
	at       time.Time // when this process last signed
	answered int       // how often another process overwrote our signature
	due      bool      // a hint to sign follows after the pause
	echo     bool      // Stripe's event about our last signature is still to come
}

// shareListed chooses the link that all installations sign. The caller holds the lock.
func (w *linkReconciler) shareListed(listed []ledger.Link) {
	if len(listed) == 0 || w.fleet.Sessions {
		return
	}
	chosen := w.choose(listed) // other links are deactivated
	var first ledger.Link
	for _, l := range listed {
		kept := chosen[linkKey{l.DeviceUID, l.Plan.PriceID}] == l.ID
		if kept && (first.ID == "" || l.ID < first.ID) {
			first = l
		}
	}
	w.share(first)
}

// shareFirst chooses a new link if there was none.
func (w *linkReconciler) shareFirst(created ledger.Link) {
	w.fleet.mu.Lock()
	defer w.fleet.mu.Unlock()
	if w.shared == "" {
		w.share(created)
	}
}

// share selects the link to sign. The caller holds the lock.
func (w *linkReconciler) share(l ledger.Link) {
	w.shared = l.ID
	kind := signatureDue
	if l.SignedBy == w.nonce {
		kind = signatureRead
	}
	w.fleet.OfferChanged(kind, l.ID, true, false)
}

// sharedChanged checks our signature after a change of the shared link. Once another installation
// is known, refreshes are enough to answer it.
func (w *linkReconciler) sharedChanged(ctx context.Context, id string) {
	w.fleet.mu.RLock()
	shared := w.shared == id
	w.fleet.mu.RUnlock()
	switch {
	case !shared || w.signing.answered >= answersNeeded:
	case w.signing.echo && time.Since(w.signing.at) < signPause: // our own event, or ours follows
		w.signing.echo = false
	default:
		w.sign(ctx, id)
	}
}

// signatureListed checks a link that a list showed with our signature. It reads the link unless we
// already watch it, because another installation may have signed it after the list was read.
func (w *linkReconciler) signatureListed(ctx context.Context, id string) {
	if w.signing.on != id {
		w.sign(ctx, id)
	}
}

// sign reads the shared link and signs it, unless it carries our signature. It raises a problem if
// another process keeps overwriting ours. The next refresh retries a failure.
func (w *linkReconciler) sign(ctx context.Context, id string) {
	if wait := time.Until(w.signing.at.Add(signPause)); wait > 0 {
		if !w.signing.due {
			w.signing.due = true
			time.AfterFunc(wait, func() { w.fleet.OfferChanged(signatureDue, id, true, false) })
		}
		return
	}
	w.signing.due = false
	var found ledger.Link
	err := w.callLimited(ctx, func() (err error) { found, err = w.fleet.Stripe.Link(ctx, id); return err })
	if err == nil && found.Active && found.SignedBy != w.nonce {
		err = w.signOver(ctx, found)
	}
	switch {
	case err == nil && found.SignedBy == w.nonce:
		w.signing.on = id
	case err != nil && ctx.Err() == nil:
		w.fleet.Log.Warn("link not signed", "link", id, "err", err)
	}
}

// signOver signs a link that does not carry our signature.
func (w *linkReconciler) signOver(ctx context.Context, found ledger.Link) error {
	signed := w.signing.on == found.ID
	w.signing.on = "" // count each overwritten signature once
	if signed && found.SignedBy != ledger.Unsigned {
		w.signing.answered++
		w.fleet.Log.Warn("link signed by another process of notepay", "link", found.ID, "times", w.signing.answered)
	}
	if w.signing.answered >= answersNeeded {
		w.fleet.raise(problem.Twins, TwinsText(), errors.New("it keeps signing the payment link "+found.ID))
	}
	err := w.callLimited(ctx, func() error { return w.fleet.Stripe.SignLink(ctx, found.ID, w.nonce) })
	if err == nil {
		w.signing.on, w.signing.at, w.signing.echo = found.ID, time.Now(), true
		found.SignedBy = w.nonce
	}
	w.fleet.mu.Lock()
	defer w.fleet.mu.Unlock()
	if key, known := w.keyOf(found.ID); known {
		l := w.links[key]
		l.SignedBy = found.SignedBy
		w.links[key] = l
	}
	return err
}

// callLimited makes a call to Stripe within the rate limit of link changes.
func (w *linkReconciler) callLimited(ctx context.Context, call func() error) error {
	if err := w.fleet.LinkLimiter.Wait(ctx); err != nil {
		return err
	}
	err := call()
	w.fleet.LinkLimiter.Observe(time.Now(), err)
	return err
}

// readSignatures copies the signatures of the listed links. The caller holds the lock.
func (w *linkReconciler) readSignatures(listed []ledger.Link, busy func(linkKey) bool) {
	for _, l := range listed {
		key := linkKey{l.DeviceUID, l.Plan.PriceID}
		if known := w.links[key]; known.ID == l.ID && !busy(key) {
			known.SignedBy = l.SignedBy
			w.links[key] = known
		}
	}
}

// signedElsewhere reports whether another process changed a link after this one read it. A change
// in the Dashboard keeps the signature.
func (w *linkReconciler) signedElsewhere(known, found ledger.Link) bool {
	return known.Closed == "" && known.SignedBy != "" && found.SignedBy != known.SignedBy &&
		found.SignedBy != ledger.Unsigned && found.SignedBy != w.nonce
}
