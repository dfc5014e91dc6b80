package notehub

import (
	"context"
	"crypto/ecdh"
	"encoding/json"
	"fmt"

	"notepay/internal/notecrypt"
	"notepay/internal/upstream"
)

// oddKeys is the source of odd public keys, as the operator sees it.
const oddKeys = "Notehub's public keys"

// decodePublicKey decodes the public key of a device. odd names the field that cannot be read.
func decodePublicKey(raw json.RawMessage) (uid string, key *ecdh.PublicKey, odd string) {
	var fields struct {
		UID json.RawMessage `json:"uid"`
		Key json.RawMessage `json:"key"`
	}
	if json.Unmarshal(raw, &fields) != nil || !field(fields.UID, &uid) || uid == "" {
		return "", nil, "uid"
	}
	var text string
	if !field(fields.Key, &text) {
		return uid, nil, "key"
	}
	if text == "" {
		return uid, nil, "" // a device without a key is not odd
	}
	key, err := notecrypt.ParseKey(text)
	if err != nil {
		return uid, nil, "key"
	}
	return uid, key, ""
}

// PublicKeys lists the public keys of the project's devices by UID, a page for each
// devicesPerPage. A device whose key is missing or cannot be read is not in the map, nor is one that
// is listed with two keys. With an error the map is nil.
func (n *Client) PublicKeys(ctx context.Context) (map[string]*ecdh.PublicKey, error) {
	keys := map[string]*ecdh.PublicKey{} // nil: two keys
	seen := map[string]bool{}
	var odd []oddRecord
	for page := 1; ; page++ {
		var reply replyPage
		err := n.read(ctx, call{
			path:  "/devices/public-keys",
			query: fmt.Sprintf("pageSize=%d&pageNum=%d", devicesPerPage, page),
			decode: func(text []byte) (err error) {
				reply, err = decodePage(text, "device_public_keys")
				return err
			},
		})
		if err != nil {
			return nil, fmt.Errorf("page %d of the public keys: %w", page, err)
		}
		before := len(seen)
		for i, raw := range reply.records {
			uid, key, field := decodePublicKey(raw)
			switch {
			case field == "uid":
				odd = append(odd, oddRecord{id: fmt.Sprintf("page %d, %s", page, place(i)), field: field})
			case field != "":
				odd = append(odd, oddRecord{id: displayID(uid), field: field})
			}
			uid, _ = n.spellings.Split(uid)
			if seen[uid] = true; key == nil {
				continue
			}
			if other, known := keys[uid]; known && (other == nil || !other.Equal(key)) {
				key = nil
				odd = append(odd, oddRecord{id: displayID(uid), field: "key"})
			}
			keys[uid] = key
		}
		switch {
		case !reply.more:
			n.Odd.set(oddKeys, odd...)
			for uid, key := range keys {
				if key == nil {
					delete(keys, uid)
				}
			}
			return keys, nil
		case len(seen) == before:
			return nil, fmt.Errorf("page %d of the public keys: %w", page, &upstream.Error{
				Outcome: upstream.Retryable,
				Status:  200,
				Detail:  "a page without a new device that is not the last",
			})
		}
	}
}
