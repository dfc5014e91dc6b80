package notehub

import (
	"crypto/ecdh"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"notepay/internal/fixture"
	"notepay/internal/notecrypt"
	"notepay/internal/sandbox"
	"notepay/internal/upstream"
)

// somePublicKey is the public key of a Notecard as DER in base64.
const somePublicKey = "MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEEd4kosJRx3dXPKxeoCXkZ/II5R2/+Y/FT2Zhy+Vlg7A3iC9K" +
	"HKKX5gq828ODbYS8j6aWx3RA+S0PWDfpCgDnxShLRHdU1d7ojJhlM7aQGusxd2htCuj7MxhEFKvmwXE6"

// otherKey returns the public key of another Notecard.
func otherKey(t *testing.T) string {
	t.Helper()
	key, err := ecdh.P384().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(der)
}

func TestPublicKeysReadsPageByPage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newTestHub(t, nil)
		h.AddDevice(sandbox.Device{UID: "dev:AB01"})
		h.AddDevice(sandbox.Device{UID: "dev:2"})
		h.AddDevice(sandbox.Device{UID: "dev:3"})
		h.SetPublicKey("dev:2", "")
		h.SetPublicKey("dev:3", "unknown")
		keys, err := h.client.PublicKeys(t.Context())
		fixture.Meant(t, "public keys", err, upstream.OK)
		if len(keys) != 2 || keys[fixture.Washer] == nil || keys["dev:ab01"] == nil {
			t.Errorf("read the keys of %v; want those of two devices, in lower case", keys)
		}
	})
}

func TestPublicKeysThatAreOdd(t *testing.T) {
	t.Parallel()
	other := otherKey(t)
	record := func(uid, key string) string { return fmt.Sprintf(`{"uid":%q,"key":%q}`, uid, key) }
	page := func(more bool, records ...string) sandbox.Outcome {
		body := fmt.Sprintf(`{"device_public_keys":[%s],"has_more":%v}`, strings.Join(records, ","), more)
		return sandbox.Outcome{Status: 200, Body: body}
	}
	ours, theirs := record("dev:1", somePublicKey), record("dev:2", other)
	for name, row := range map[string]struct {
		pages []sandbox.Outcome
		want  upstream.Outcome
		keys  int
	}{
		"two pages":            {[]sandbox.Outcome{page(true, ours), page(false, theirs)}, upstream.OK, 2},
		"a page again":         {[]sandbox.Outcome{page(true, ours), page(false, ours, theirs)}, upstream.OK, 2},
		"two keys of a device": {[]sandbox.Outcome{page(false, ours, record("DEV:1", other), ours)}, upstream.OK, 0},
		"records of other shapes": {[]sandbox.Outcome{page(false, "7", "null", `{"key":"x"}`, `{"uid":"dev:2","key":7}`,
			`{"uid":"dev:3"}`, ours)}, upstream.OK, 1},
		"no page more":          {[]sandbox.Outcome{page(true, ours), page(true, ours)}, upstream.Retryable, 0},
		"the second page fails": {[]sandbox.Outcome{page(true, ours), {Status: 429}}, upstream.RateLimited, 0},
		"no list":               {[]sandbox.Outcome{{Status: 200, Body: "{}"}}, upstream.Retryable, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := newTestHub(t, nil)
				h.Next("GET /v1/projects/{p}/devices/public-keys", row.pages...)
				keys, err := h.client.PublicKeys(t.Context())
				fixture.Meant(t, name, err, row.want)
				if len(keys) != row.keys || err != nil && keys != nil {
					t.Errorf("%d keys; want %d", len(keys), row.keys)
				}
			})
		})
	}
}

func TestPendingNotesThatAreEncrypted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newTestHub(t, nil)
		key, err := notecrypt.ParseKey(somePublicKey)
		if err != nil {
			t.Fatal(err)
		}
		body, err := notecrypt.Seal(key, map[string]string{"credit_id": "cr_1"})
		if err != nil {
			t.Fatal(err)
		}
		fixture.Meant(t, "post", h.client.PostEncrypted(t.Context(), fixture.Washer, PaymentFile, body), upstream.OK)
		notes, err := h.client.PendingNotes(t.Context(), fixture.Washer, PaymentFile)
		fixture.Meant(t, "pending", err, upstream.OK)
		if len(notes) != 1 || notes[0].Digest != body.Digest() || !notes[0].Unreadable || notes[0].CreditID != "" {
			t.Errorf("pending %+v; want an unreadable note with its digest", notes)
		}
	})
}
