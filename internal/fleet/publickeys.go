package fleet

import (
	"context"
	"crypto/ecdh"
	"fmt"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/message"
)

// The public keys of the devices are only in memory. A restart reads them with the first listing, and
// without Notehub nothing could be posted anyway.

// keyProblem returns what an operator reads about a device whose public key is not known.
func keyProblem() message.Message {
	return message.New("its public key is not in Notehub or cannot be read, so its notes cannot be encrypted " +
		"(ENCRYPT_NOTES, experimental) and it is not sold")
}

// readKeys reads the public keys of all devices, if notes are encrypted. If they cannot be read, those
// that are known stay.
func (f *Fleet) readKeys(ctx context.Context) error {
	if !f.Encrypted {
		return nil
	}
	began := f.Ledger.Now()
	keys, err := f.Notehub.PublicKeys(ctx)
	if err != nil {
		err = fmt.Errorf("read public keys for ENCRYPT_NOTES (experimental): %w", err)
	}
	f.showKeys(keys, began, err)
	return err
}

// showKeys stores the result of a reading of the keys. The time of the reading is last, because it
// decides about a device without a key.
func (f *Fleet) showKeys(keys map[string]*ecdh.PublicKey, began time.Time, err error) {
	f.mu.Lock()
	if f.keysErr = ""; err != nil {
		f.keysErr = err.Error()
		f.mu.Unlock()
		return
	}
	first := f.keys == nil
	f.keys = keys
	f.mu.Unlock()
	var changed []ledger.Device
	for _, d := range f.all() {
		if key := keys[d.UID]; first || (key == nil) != (d.key == nil) || key != nil && !key.Equal(d.key) {
			changed = append(changed, d.Device)
		}
	}
	f.put(changed...)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.keysReadAt = began
}

// keysUnread reports whether the public keys were not read since the start.
func (f *Fleet) keysUnread() bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.keys == nil
}

// setKey sets the public key of a device that is being built. The caller holds the lock.
func (f *Fleet) setKey(d *Device) {
	if !f.Encrypted {
		return
	}
	d.key = f.keys[d.UID]
	d.keyUnknown = d.key == nil
	if d.keyUnknown && f.keys != nil {
		d.Problems = append(d.Problems[:len(d.Problems):len(d.Problems)], keyProblem())
	}
}

// PublicKey returns the key for which a device's notes are encrypted, or nil if it is not known.
func (f *Fleet) PublicKey(uid string) *ecdh.PublicKey {
	if d := f.Device(uid); d != nil {
		return d.key
	}
	return nil
}
