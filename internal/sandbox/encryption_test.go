package sandbox

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"testing"

	"notepay/internal/notecrypt"
)

// keyOf reads the public key of a device as the API returns it.
func keyOf(t *testing.T, text string) *ecdh.PublicKey {
	t.Helper()
	der, err := base64.StdEncoding.DecodeString(text)
	if block, _ := pem.Decode([]byte(text)); block != nil {
		der, err = block.Bytes, nil
	}
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	parsed, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		t.Fatal(err)
	}
	key, err := parsed.(*ecdsa.PublicKey).ECDH()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestNotehubPublicKeys(t *testing.T) {
	t.Parallel()
	for _, inBase64 := range []bool{false, true} {
		n := NewNotehub(NotehubConfig{Token: "pat", Project: project, Report: t,
			Unknown: NotehubUnknown{KeyInBase64: inBase64}})
		for i := range 5 {
			n.AddDevice(Device{UID: fmt.Sprintf("dev:%d", i)})
		}
		n.SetPublicKey("dev:3", "")
		read := map[string]string{}
		for page, more := 1, true; more; page++ {
			status, reply := hubCall(t, n, "GET", fmt.Sprintf("/devices/public-keys?pageSize=2&pageNum=%d", page), "")
			if status != 200 {
				t.Fatalf("page %d is answered %d", page, status)
			}
			for _, record := range reply["device_public_keys"].([]any) {
				fields := record.(map[string]any)
				read[fields["uid"].(string)] = fields["key"].(string)
			}
			more = reply["has_more"].(bool)
		}
		if len(read) != 4 || read["dev:3"] != "" {
			t.Errorf("read the keys of %d devices; want 4 without dev:3", len(read))
		}
		status, one := hubCall(t, n, "GET", "/devices/dev:1/public-key", "")
		if status != 200 || one["key"] != read["dev:1"] || one["uid"] != "dev:1" ||
			keyOf(t, read["dev:1"]).Equal(keyOf(t, read["dev:2"])) {
			t.Errorf("one key is %v (%d); want that of the list, and another one for each device", one, status)
		}
		if status, _ := hubCall(t, n, "GET", "/devices/dev:3/public-key", ""); status != 404 {
			t.Errorf("a missing key is answered %d; want 404", status)
		}
		n.ShowPublicKey("dev:3")
		if status, _ := hubCall(t, n, "GET", "/devices/dev:3/public-key", ""); status != 200 {
			t.Errorf("a key that is shown again is answered %d; want 200", status)
		}
	}
}

// encryptedFor returns a body encrypted for a device.
func encryptedFor(t *testing.T, n *Notehub, device string, body any) map[string]any {
	t.Helper()
	_, reply := hubCall(t, n, "GET", "/devices/"+device+"/public-key", "")
	sealed, err := notecrypt.Seal(keyOf(t, reply["key"].(string)), body)
	if err != nil {
		t.Fatal(err)
	}
	text, _ := json.Marshal(sealed)
	var encrypted map[string]any
	if err := json.Unmarshal(text, &encrypted); err != nil {
		t.Fatal(err)
	}
	return encrypted
}

func TestNotecardDecrypts(t *testing.T) {
	t.Parallel()
	n := NewNotehub(NotehubConfig{Token: "pat", Project: project, Report: t})
	n.AddDevice(Device{UID: machine1})
	n.AddDevice(Device{UID: "dev:other"})
	c := NewNotecard(n, machine1)
	ask := func(line string) map[string]any {
		var reply map[string]any
		if err := json.Unmarshal(c.Exchange([]byte(line)), &reply); err != nil {
			t.Fatal(err)
		}
		return reply
	}
	post := func(body map[string]any) {
		text, _ := json.Marshal(map[string]any{"body": body})
		status, reply := hubCall(t, n, "POST", "/devices/"+machine1+"/notes/payment.qi", string(text))
		if status != 200 {
			t.Fatalf("the note was answered %d %v", status, reply)
		}
	}
	ask(`{"req":"hub.set","product":"p","mode":"continuous","sync":true,"inbound":60,"outbound":15}`)
	plain := map[string]any{"credit_id": "cr_a"}
	encrypted, other := encryptedFor(t, n, machine1, plain), encryptedFor(t, n, "dev:other", plain)
	const get = `{"req":"note.get","file":"payment.qi"`
	for _, row := range []struct {
		name      string
		body      map[string]any
		request   string
		want, err string
	}{
		{"decrypts", encrypted, get + `,"decrypt":true}`, "cr_a", ""},
		{"is not told to", encrypted, get + `}`, "", ""},
		{"a plain note", plain, get + `,"decrypt":true}`, "cr_a", ""},
		{"a note for another Notecard", other, get + `,"decrypt":true}`, "", "cannot decrypt"},
		{"damaged", map[string]any{"alg": encryptedAlg, "data": "AA==", "key": "?"}, get + `,"decrypt":true}`, "",
			"cannot decrypt"},
	} {
		post(row.body)
		reply := ask(row.request)
		body, _ := reply["body"].(map[string]any)
		got, _ := body["credit_id"].(string)
		problem, _ := reply["err"].(string)
		if got != row.want || (row.err == "") != (problem == "") || len(problem) < len(row.err) {
			t.Errorf("%s: got %v; want %q, error %q", row.name, reply, row.want, row.err)
		}
		if len(c.Waiting("payment.qi")) != 1 {
			t.Errorf("%s: the note did not stay", row.name)
		}
		ask(get + `,"delete":true}`)
	}
}
