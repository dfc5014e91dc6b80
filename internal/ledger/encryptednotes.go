package ledger

import (
	"context"

	"notepay/internal/payment"
)

// EncryptedNote is a note that only its Notecard can read. It is stored before it is posted, so that
// a pending note can be told by the digest of its data.
type EncryptedNote struct {
	Digest        string // of notecrypt.Body
	PaymentID     string
	FencingToken  int64 // of the claim that posts it
	PaymentStatus string
}

// AddEncryptedNote stores a note before it is posted.
func (tx *Tx) AddEncryptedNote(n EncryptedNote) error {
	return tx.run(`INSERT INTO encrypted_notes (digest, payment_id, turn, payment_status, at)
		VALUES ($1, $2, $3, $4, $5)`,
		n.Digest, n.PaymentID, n.FencingToken, n.PaymentStatus, tx.Now.UnixMilli())
}

func scanEncryptedNote(s scanner) (n EncryptedNote, err error) {
	err = s.Scan(&n.Digest, &n.PaymentID, &n.FencingToken, &n.PaymentStatus)
	return n, err
}

// IdentifyNotes returns the pending notes with the credit and status of those that are encrypted and
// that this ledger has posted. Others stay unreadable.
func (l *Ledger) IdentifyNotes(ctx context.Context, pending []payment.PendingNote) ([]payment.PendingNote, error) {
	var digests []string
	for _, n := range pending {
		if n.Digest != "" {
			digests = append(digests, n.Digest)
		}
	}
	if len(digests) == 0 {
		return pending, nil
	}
	rows, err := l.reads.QueryContext(ctx, `SELECT digest, payment_id, turn, payment_status FROM encrypted_notes
		WHERE digest IN (`+numbered(len(digests))+`)`, anys(digests)...)
	posted, err := all(rows, err, scanEncryptedNote)
	if err != nil {
		return nil, err
	}
	of := make(map[string]EncryptedNote, len(posted))
	for _, n := range posted {
		of[n.Digest] = n
	}
	identified := make([]payment.PendingNote, len(pending))
	for i, n := range pending {
		if ours, ok := of[n.Digest]; ok {
			n.CreditID, n.PaymentStatus, n.Unreadable = ours.PaymentID, ours.PaymentStatus, false
		}
		identified[i] = n
	}
	return identified, nil
}
