package bridge

import (
	"context"
	"fmt"

	"notepay/internal/ledger"
	"notepay/internal/notecrypt"
	"notepay/internal/payment"
	"notepay/internal/upstream"
)

// noteOf returns a payment's note, signed if there is a key.
func (b *Bridge) noteOf(p payment.Payment) payment.Note {
	n := payment.NoteOf(p)
	if b.c.NoteKey == nil {
		return n
	}
	return payment.Sign(n, payment.DeviceKey(b.c.NoteKey, p.DeviceUID))
}

// post posts a payment's note, encrypted if notes are. The digest of an encrypted note is on disk
// before the call, so that the note is recognized while it is pending, also after a lost reply or
// a restart. Without the device's public key nothing is posted.
func (b *Bridge) post(ctx context.Context, p payment.Payment) error {
	note, file := b.noteOf(p), payment.NoteFileOf(p)
	if !b.c.Encrypted {
		return b.c.Notehub.PostNote(ctx, p.DeviceUID, file, note)
	}
	body, err := b.encrypted(ctx, p, note)
	if err != nil {
		b.c.NotehubLimiter.Taken().Close() // no request was made
		return &upstream.Error{Outcome: upstream.Retryable, Detail: err.Error(), Err: err}
	}
	return b.c.Notehub.PostEncrypted(ctx, p.DeviceUID, file, body)
}

// encrypted returns a note encrypted for the payment's device, and stores its digest.
func (b *Bridge) encrypted(ctx context.Context, p payment.Payment, note payment.Note) (notecrypt.Body, error) {
	key := b.c.Fleet.PublicKey(p.DeviceUID)
	if key == nil {
		return notecrypt.Body{}, fmt.Errorf("the public key of %s is not known, so its note is not sent", p.DeviceUID)
	}
	body, err := notecrypt.Seal(key, note)
	if err != nil {
		return notecrypt.Body{}, fmt.Errorf("encrypt the note: %w", err)
	}
	err = b.c.Ledger.Update(ctx, func(tx *ledger.Tx) error {
		return tx.AddEncryptedNote(ledger.EncryptedNote{
			Digest:        body.Digest(),
			PaymentID:     p.ID,
			FencingToken:  p.FencingToken,
			PaymentStatus: note.PaymentStatus,
		})
	})
	if err != nil {
		return notecrypt.Body{}, fmt.Errorf("store the digest of the note: %w", err)
	}
	return body, nil
}

// pendingNotes lists the pending notes of a device in a notefile. Encrypted notes that this ledger has
// posted have their credit.
func (b *Bridge) pendingNotes(ctx context.Context, device, file string) ([]payment.PendingNote, error) {
	pending, err := b.c.Notehub.PendingNotes(ctx, device, file)
	if err != nil {
		return nil, err
	}
	pending, err = b.c.Ledger.IdentifyNotes(ctx, pending)
	if err != nil {
		return nil, &upstream.Error{Outcome: upstream.Retryable, Detail: "the ledger was not read", Err: err}
	}
	return pending, nil
}
