package passkey_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"strings"
	"testing"
	"time"

	"notepay/internal/passkey"
	"notepay/internal/passkey/passkeytest"
)

const (
	host   = "pay.example.com"
	origin = "https://pay.example.com"
)

func site(t *testing.T) passkey.Site {
	t.Helper()
	s, err := passkey.NewSite(origin, "operator-token-1234")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func noon() time.Time { return time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC) }

// register makes a passkey with a device.
func register(t *testing.T, s passkey.Site, d *passkeytest.Device) (passkey.Key, error) {
	t.Helper()
	client, data, key := d.Create(s.Challenge("join", noon()))
	k, _, err := s.Register(passkey.Registration{ClientData: client, Data: data, PublicKey: key}, "join", noon())
	return k, err
}

func TestNewSite(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"https://pay.example.com":      "",
		"https://pay.example.com:8443": "",
		"http://localhost:3000":        "",
		"http://pay.example.com":       "passkeys need HTTPS",
		"https://192.0.2.1":            "passkeys need a host name",
		"https://[2001:db8::1]:443":    "passkeys need a host name",
		"":                             "passkeys need PUBLIC_URL",
	} {
		s, err := passkey.NewSite(url, "secret")
		if want == "" && (err != nil || s.Origin != url || strings.Contains(s.ID, ":")) ||
			want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %+v, %v; want %q", url, s, err, want)
		}
	}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	for _, kind := range passkeytest.Kinds() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s, d := site(t), passkeytest.New(t, kind, host, origin)
			k, err := register(t, s, d)
			if err != nil || !bytes.Equal(k.ID, d.ID) {
				t.Fatalf("%+v, %v", k, err)
			}
			client, data, signature := d.Get(s.Challenge("sign-in", noon()))
			good := passkey.Assertion{ID: d.ID, ClientData: client, Data: data, Signature: signature}
			counter, challenge, err := s.Verify(k, "p_1", good, "sign-in", noon().Add(9*time.Minute))
			if err != nil || counter != 1 || challenge == "" {
				t.Fatalf("counter %d, challenge %q, %v; want 1", counter, challenge, err)
			}
			for n := range signature {
				bad := good
				bad.Signature = bytes.Clone(signature)
				bad.Signature[n] ^= 1
				if _, _, err := s.Verify(k, "p_1", bad, "sign-in", noon()); err == nil {
					t.Fatalf("a signature with another byte %d is accepted", n)
				}
			}
			for n := range data {
				bad := good
				bad.Data = bytes.Clone(data)
				bad.Data[n] ^= 1
				if _, _, err := s.Verify(k, "p_1", bad, "sign-in", noon()); err == nil {
					t.Errorf("authenticator data with another byte %d are accepted", n)
				}
			}
		})
	}
}

func TestVerifyRejects(t *testing.T) {
	t.Parallel()
	s := site(t)
	other, err := passkey.NewSite(origin, "another-token-12345")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*passkeytest.Device, *passkey.Key)
		made   passkey.Site
		for_   string
		after  time.Duration
		handle string
		want   string
	}{
		"another site's passkey": {change: func(d *passkeytest.Device, _ *passkey.Key) { d.Site = "evil.example" },
			want: "for another site"},
		"a page of another site": {change: func(d *passkeytest.Device, _ *passkey.Key) {
			d.Origin = "https://pay.example.com.evil.example"
		}, want: "was used on"},
		"a page without HTTPS": {change: func(d *passkeytest.Device, _ *passkey.Key) { d.Origin = "http://" + host },
			want: "was used on"},
		"a frame of another site": {change: func(d *passkeytest.Device, _ *passkey.Key) { d.Cross = true },
			want: "in a frame"},
		"an unchecked person": {change: func(d *passkeytest.Device, _ *passkey.Key) { d.Flags = 0x01 },
			want: "did not check"},
		"a device that was not touched": {change: func(d *passkeytest.Device, _ *passkey.Key) { d.Flags = 0x04 },
			want: "did not confirm"},
		"a passkey that can be copied now": {change: func(d *passkeytest.Device, _ *passkey.Key) { d.Flags = 0x0d },
			want: "not of the kind"},
		"flags that contradict each other": {change: func(d *passkeytest.Device, _ *passkey.Key) { d.Flags = 0x15 },
			want: "contradict"},
		"a counter that stays": {change: func(_ *passkeytest.Device, k *passkey.Key) { k.Counter = 1 },
			want: "may have been copied"},
		"a counter that went back": {change: func(_ *passkeytest.Device, k *passkey.Key) { k.Counter = 7 },
			want: "may have been copied"},
		"a challenge of another notepay": {made: other, want: "not ours"},
		"a challenge for something else": {for_: "join", want: "not ours"},
		"an old challenge":               {after: passkey.ChallengeTimeout + time.Second, want: "has expired"},
		"a challenge of tomorrow":        {after: -time.Hour, want: "has expired"},
		"another person's handle":        {handle: "p_2", want: "belongs to another person"},
		"another key": {change: func(d *passkeytest.Device, _ *passkey.Key) {
			d.Key = passkeytest.New(t, "ES256", host, origin).Key
		}, want: "signature is wrong"},
		"another id": {change: func(_ *passkeytest.Device, k *passkey.Key) { k.ID = []byte("another") },
			want: "belongs to another person"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := passkeytest.New(t, "ES256", host, origin)
			k, err := register(t, s, d)
			if err != nil {
				t.Fatal(err)
			}
			if c.change != nil {
				c.change(d, &k)
			}
			made, purpose, handle := s, "sign-in", "p_1"
			if c.made.ID != "" {
				made = c.made
			}
			if c.for_ != "" {
				purpose = c.for_
			}
			client, data, signature := d.Get(made.Challenge(purpose, noon()))
			if c.handle != "" {
				handle = c.handle
			}
			_, _, err = s.Verify(k, "p_1", passkey.Assertion{
				ID:         d.ID,
				ClientData: client,
				Data:       data,
				Signature:  signature,
				UserHandle: []byte(handle),
			}, "sign-in", noon().Add(c.after))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v; want %q", err, c.want)
			}
			if copied := c.want == "may have been copied"; errors.Is(err, passkey.ErrCopied) != copied {
				t.Errorf("%v; want that it is ErrCopied: %v", err, copied)
			}
		})
	}
}

func TestRegisterRejects(t *testing.T) {
	t.Parallel()
	s := site(t)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Skip(err) // a Go that refuses short keys
	}
	for name, c := range map[string]struct {
		change func(*passkeytest.Device)
		cut    int
		want   string
	}{
		"another curve": {func(d *passkeytest.Device) { d.Key = p384 }, 0, "algorithm"},
		"a short key":   {func(d *passkeytest.Device) { d.Key = short }, 0, "algorithm"},
		"no key":        {func(*passkeytest.Device) {}, 1, "cut off"},
		"no id":         {func(d *passkeytest.Device) { d.ID = nil }, 0, "cut off"},
		"a long id":     {func(d *passkeytest.Device) { d.ID = make([]byte, 1024) }, 0, "cut off"},
		"not verified":  {func(d *passkeytest.Device) { d.Flags = 0x01 }, 0, "did not check"},
		"another site":  {func(d *passkeytest.Device) { d.Origin = "https://evil.example" }, 0, "was used on"},
	} {
		d := passkeytest.New(t, "ES256", host, origin)
		c.change(d)
		client, data, key := d.Create(s.Challenge("join", noon()))
		_, _, err := s.Register(passkey.Registration{
			ClientData: client,
			Data:       data[:len(data)-c.cut],
			PublicKey:  key,
		}, "join", noon())
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %q", name, err, c.want)
		}
	}
	d := passkeytest.New(t, "ES256", host, origin)
	client, data, signature := d.Get(s.Challenge("join", noon()))
	if _, _, err := s.Register(passkey.Registration{ClientData: client, Data: data, PublicKey: signature}, "join",
		noon()); err == nil {
		t.Error("a sign-in counts as a registration")
	}
}

// FuzzRegister requires that no input from a browser crashes, and that an accepted one has a key that
// can verify.
func FuzzRegister(f *testing.F) {
	t := &testing.T{}
	s, err := passkey.NewSite(origin, "secret")
	if err != nil {
		f.Fatal(err)
	}
	client, data, key := passkeytest.New(t, "ES256", host, origin).Create(s.Challenge("join", noon()))
	f.Add(client, data, key)
	f.Add([]byte(`{"type":"webauthn.create"}`), data[:60], []byte{0x30})
	f.Fuzz(func(t *testing.T, client, data, key []byte) {
		r := passkey.Registration{ClientData: client, Data: data, PublicKey: key}
		k, challenge, err := s.Register(r, "join", noon())
		if err == nil && (len(k.ID) == 0 || len(k.ID) > 1023 || challenge == "") {
			t.Errorf("%+v is accepted", k)
		}
		_, _, _ = s.Verify(passkey.Key{ID: data, PublicKey: key}, "", passkey.Assertion{
			ID:         data,
			ClientData: client,
			Data:       data,
			Signature:  key,
		}, "join", noon())
	})
}
