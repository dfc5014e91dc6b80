package uid

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	t.Parallel()
	const imei = "dev:864475044215258"
	for given, want := range map[string]string{
		"dev:864475044215258":                                    imei,
		"DEV:864475044215258":                                    imei,
		"Dev:864475044215258":                                    imei,
		" dev:864475044215258\n":                                 imei,
		"864475044215258":                                        imei,
		"86 447504 421525 8":                                     imei,
		"86-447504-421525-8":                                     imei,
		"dev%3A864475044215258":                                  imei,
		"dev%253A864475044215258":                                imei,
		"dev%25253A864475044215258":                              imei,
		"dev\uff1a864475044215258":                               imei, // a full-width colon
		"\uff44\uff45\uff56\uff1a864475044215258":                imei, // full-width letters
		"dev:\uff18\uff16\uff14475044215258":                     imei, // full-width digits
		"dev:864475044215258\u200b":                              imei, // a zero-width space
		"\ufeffdev:864475044215258":                              imei, // a byte order mark
		"dev:8644750\u00ad44215258":                              imei, // a soft hyphen
		"dev:864475044215258\u00a0":                              imei, // a no-break space
		`"dev:864475044215258"`:                                  imei,
		"<dev:864475044215258>":                                  imei,
		"https://qrgo.org/id/dev:864475044215258":                imei,
		"https://x.example/pay?device=DEV:864475044215258&pin=1": imei,
		"https://x.example/pay/dev%3A864475044215258/":           imei,
		"(dev:864475044215258)":                                  imei,
		"dev:864475044215258?utm_source=qr":                      imei,
		"dev:864475044215258&fbclid=IwAR1_x":                     imei,
		"864475044215258?utm_source=qr":                          imei,
		"dev:864475044215258#top":                                imei,
		"dev%3A864475044215258%3Futm_source%3Dqr":                imei,
		"dev:?864475044215258":                                   "",
		"dev:864475044215258 864475044217777":                    "",
		"\u0668\u0666\u0664\u0664\u0667\u0665\u0660\u0664\u0664\u0662\u0661\u0665\u0662\u0665\u0668": imei, // Arabic
		"dev:CA11AB1E0042":               "dev:ca11ab1e0042",
		"ca11ab1e0042":                   "dev:ca11ab1e0042",
		"dev:lora:70b3d57ed0051234":      "dev:lora:70b3d57ed0051234",
		"DEV:LORA:70B3D57ED0051234":      "dev:lora:70b3d57ed0051234",
		"dev:lab_1.a-b":                  "dev:lab_1.a-b",
		"":                               "",
		"dev:":                           "",
		"dev::1":                         "",
		"dev:1:":                         "",
		"dev:a::b":                       "",
		"dev:a b":                        "",
		"dev:1/../2":                     "",
		"dev:<script>":                   "",
		"[deviceUID]":                    "",
		"dev:[deviceUID]":                "",
		"imei:866425033334444":           "",
		"12345":                          "",
		"dev:" + strings.Repeat("1", 65): "",
		"dev:\u00e4":                     "",
		strings.Repeat("%25", 10_000):    "",
	} {
		got, ok := Parse(given)
		if got != want || ok != (want != "") {
			t.Errorf("%q is %q, %v; want %q", given, got, ok, want)
		}
		if again, ok := Parse(got); want != "" && (!ok || again != got) {
			t.Errorf("%q is read as %q", got, again)
		}
	}
}

func TestParseAllocatesNothingForAKey(t *testing.T) { // not parallel, because it counts allocations
	if n := testing.AllocsPerRun(100, func() { Parse("dev:864475044215258") }); n != 0 {
		t.Errorf("a UID as it is allocates %v times; want never", n)
	}
}

// A record of Notehub may spell a UID in a way that no person means: with capitals and a dot at its end.
func TestOfKeepsAKey(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{"dev:Washer.": "dev:washer.", " DEV:1 ": "dev:1", "imei:1": "imei:1"} {
		if got := Of(given); got != want {
			t.Errorf("%q is the device %q; want %q", given, got, want)
		}
	}
}
