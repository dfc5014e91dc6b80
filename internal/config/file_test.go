package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// writeFile writes a settings file and returns its path.
func writeFile(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), ".env")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestReadFile(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"A=xTvDqw$27correct-horse":               "xTvDqw$27correct-horse",
		`A="abc$HORSEdef"`:                       "abc$HORSEdef",
		"A='abc$HORSEdef'":                       "abc$HORSEdef",
		"A=postgres://notepay:p$W0RD@db/notepay": "postgres://notepay:p$W0RD@db/notepay",
		"A=${HOME}/$(pwd)/$":                     "${HOME}/$(pwd)/$",
		"  A = b c ":                             "b c",
		"A=b: c":                                 "b: c",
		"A=#0b6b4f":                              "#0b6b4f",
		"A=":                                     "",
		`A=C:\notepay\notepay.db`:                `C:\notepay\notepay.db`,
		`A=\\server\share\notepay.db`:            `\\server\share\notepay.db`,
		"A='it\\s'":                              `it\s`,
		`A='ends in \'`:                          `ends in \`,
		`A='$HOME \$' # a comment`:               `$HOME \$`,
		`A="b" # a comment`:                      "b",
		`A=b # not C\D`:                          "b",
		"A=\u00fcber":                            "\u00fcber",
		"# a comment with = in it\n\n  \t\nA=b\r\n#\n": "b",
		"B=1\nA=$B": "$B",
	} {
		values, err := ReadFile(writeFile(t, line))
		if err != nil || values["A"] != want {
			t.Errorf("%q: %q, %v; want %q", line, values["A"], err, want)
		}
	}
}

func TestReadFileNamesTheLine(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, want string }{
		"a line without an equals sign": {"A=1\n# b\nsecret words\nB=2", "line 3: this is not NAME=value"},
		"a name alone at the end":       {"A=1\nsecret", "line 2: this is not NAME=value"},
		"a name with a space":           {"MY secret=1", "line 1: this is not NAME=value"},
		"a colon":                       {"A=1\nB: secret", "line 2: this is not NAME=value: write ="},
		"a colon before an equals sign": {"A: secret=1", "line 1: this is not NAME=value: write = in place of"},
		"an address alone":              {"https://secret.example", "line 1: this is not NAME=value"},
		"an export":                     {"A=1\nexport B=secret", "line 2: write NAME=value without export"},
		"an export with tabs":           {"\texport\tB = secret", "line 1: write NAME=value without export"},
		"an export with a colon":        {"export B: secret", "line 1: write NAME=value without export"},
		"a quote that is not closed":    {"A=1\nB=\"secret\nC=2", "line 2: B: the quotes are not closed"},
		"text behind the quotes": {
			`A="secret" b`, "line 1: A: the quotes are not closed on this line, or text follows",
		},
		"text behind single quotes":    {`A='sec\'ret'`, "line 1: A: the quotes are not closed"},
		"a curly quote":                {"A=1\nB=\u201csecret\u201d", "line 2: B: begins with a curly quote"},
		"a backslash in double quotes": {`A="sec\"ret"`, "line 1: A: a backslash in double quotes"},
		"a backslash before a dollar":  {`A=sec\$ret`, "line 1: A: write $ without a backslash"},
		"a byte order mark":            {"\ufeffA=secret", "begins with a byte order mark (BOM)"},
		"a byte order mark inside": {
			"A=1\n\ufeffB=secret", "line 2: this is not NAME=value: it holds an invisible character (U+FEFF)",
		},
		"a backslash at the end":         {"A=secret\\\nB=1", "line 1: A: ends in a backslash"},
		"a backslash inside":             {`A=sec\ret`, "line 1: A: a backslash without quotes"},
		"a backslash behind a dollar":    {`A=sec$\ret`, "line 1: A: a backslash without quotes"},
		"UTF-16":                         {"\xff\xfeA\x00=\x00", "saved as UTF-16"},
		"a zero byte":                    {"A=sec\x00ret", "zero byte"},
		"an encoding that is not UTF-8":  {"A=secret\xfc", "not valid UTF-8"},
		"a file as large as no settings": {strings.Repeat("# secret\n", 1<<17), "larger than 1 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Load(writeFile(t, c.text), func(string) string { return "" })
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "sec") {
				t.Errorf("error %v; want one with %q that quotes nothing of the file", err, c.want)
			}
		})
	}
	if _, err := ReadFile(t.TempDir()); err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("a directory: %v", err)
	}
}

// Docker passes a value of --env-file on with its quotes. The settings file and systemd take them off.
func TestLoadTakesOffTheQuotesThatDockerPassesOn(t *testing.T) {
	t.Parallel()
	for name := range good() {
		values := good()
		for _, quote := range []string{`"`, "'"} {
			values[name] = quote + good()[name] + quote
			if _, err := load(t, values); err != nil {
				t.Errorf("%s in %s: error %v", name, quote, err)
			}
		}
	}
	for set, want := range map[string]string{
		`"Wasch & Fertig"`:      "Wasch & Fertig",
		`'Wasch & Fertig'`:      "Wasch & Fertig",
		`'abc$HORSEdef'`:        "abc$HORSEdef",
		`'a\b'`:                 `a\b`,
		`'Laundry #1 # 2'`:      "Laundry #1 # 2",
		`""`:                    "",
		`The "Express" laundry`: `The "Express" laundry`,
		"Joe's":                 "Joe's",
		`Laundry "Express"`:     `Laundry "Express"`,
		`"Express" Laundry`:     `"Express" Laundry`,
	} {
		values := good()
		values["BRAND_NAME"] = set
		if s, err := load(t, values); err != nil || s.BrandName != want {
			t.Errorf("%s: %v; want %q", set, err, want)
		}
	}
	file := writeFile(t, "OPERATOR_TOKEN=the-token-of-the-file\n")
	values := good()
	values["OPERATOR_TOKEN"] = `""`
	s, err := Load(file, func(name string) string { return values[name] })
	if err != nil || s.OperatorToken != "the-token-of-the-file" {
		t.Errorf("two quotes alone: %v; want the file's token", err)
	}
	values["OPERATOR_TOKEN"] = "'a token with a # inside'"
	if s, err = load(t, values); err != nil || s.OperatorToken != "a token with a # inside" {
		t.Errorf("a # in quotes: %v", err)
	}
}

func TestLoadRejectsQuotesThatArePartOfAValue(t *testing.T) {
	t.Parallel()
	for name := range good() {
		values := good()
		for _, quotes := range []string{"``", "\u201c\u201d", "\u201e\u201c", "\u00ab\u00bb"} {
			both := []rune(quotes)
			values[name] = string(both[0]) + good()[name] + string(both[1])
			if _, err := load(t, values); err == nil ||
				!strings.Contains(err.Error(), name+": holds a quotation mark") {
				t.Errorf("%s in %s: error %v", name, quotes, err)
			}
		}
	}
	for name, row := range map[string]struct{ set, want string }{
		"a backslash":         {`"Wasch \"Fertig\""`, "BRAND_NAME: holds a quotation mark"},
		"two in quotes":       {`"Wasch" "Fertig"`, "BRAND_NAME: holds a quotation mark"},
		"curly quotes":        {"\u201eWasch & Fertig\u201c", "BRAND_NAME: holds a quotation mark"},
		"a comment behind it": {`"Wasch & Fertig" # on the door`, "BRAND_NAME: holds a space and a #"},
	} {
		values := good()
		values["BRAND_NAME"] = row.set
		if _, err := load(t, values); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: error %v; want %s", name, err, row.want)
		}
	}
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	file := writeFile(t, "CREDIT_LIFETIMES=1h\nBRAND_NAME=Wash #1\nXYZZY=1\nPORT=3000\nDEMO_PORT=3001\n")
	environ := []string{
		"OPERATR_TOKEN=secret",
		"PATH=/bin",
		"POSTS=1",
		"HOME=/",
		"operator_token=secret",
		"PORT=1",
		"STRIPE_API_KEY=secret",
		"OPERATOR_TOKEN_FILE=/run/secret",
		"notepay_public_url=https://secret",
	}
	got := strings.Join(Warnings(file, environ), "\n")
	for _, want := range []string{
		"CREDIT_LIFETIMES in " + file + " is not a setting of notepay; did you mean CREDIT_LIFETIME?",
		"XYZZY in " + file + " is not a setting of notepay",
		"OPERATR_TOKEN in the environment is not a setting of notepay; did you mean OPERATOR_TOKEN?",
		"operator_token in the environment is not a setting of notepay; did you mean OPERATOR_TOKEN?",
		"OPERATOR_TOKEN_FILE in the environment is not a setting of notepay; set OPERATOR_TOKEN to the value itself",
		"notepay_public_url in the environment is not a setting of notepay; set PUBLIC_URL to the value itself",
		"line 2: BRAND_NAME: everything from # on is a comment",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no warning %q in\n%s", want, got)
		}
	}
	for _, wrong := range []string{
		"secret", "PATH", "HOME", "DEMO_PORT", "PORT in", "XYZZY in " + file + " is not a setting of notepay;",
	} {
		if strings.Contains(got, wrong) {
			t.Errorf("a warning holds %q:\n%s", wrong, got)
		}
	}
	if got := Warnings(writeFile(t, "PORT=3000"), []string{"PATH=/bin"}); len(got) != 0 {
		t.Errorf("warnings of nothing: %q", got)
	}
}

func TestZone(t *testing.T) {
	t.Parallel()
	july := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	for given, hour := range map[string]int{
		"Europe/Berlin": 14, " Europe/Berlin ": 14, ":Europe/Berlin": 14, "UTC": 12, "America/New_York": 8,
	} {
		values := good()
		values["TZ"] = given
		s, err := load(t, values)
		if err != nil {
			t.Errorf("TZ=%q: %v", given, err)
			continue
		}
		if got := july.In(s.Zone()).Hour(); got != hour {
			t.Errorf("TZ=%q: noon UTC is %d o'clock; want %d", given, got, hour)
		}
	}
	for _, given := range []string{
		"Europe/Berln", "CET-1CEST,M3.5.0,M10.5.0/3", "/no/such/file", "/dev/zero", "../etc/passwd", "Berlin",
		"Local", ":Local", "europe/berlin/", "Europe", "UTC+1", "Europe\\Berlin",
	} {
		values := good()
		values["TZ"] = given
		if _, err := load(t, values); err == nil || !strings.Contains(err.Error(), "TZ: ") {
			t.Errorf("TZ=%q: error %v; want one that names TZ", given, err)
		}
	}
}

func TestPublicURL(t *testing.T) {
	t.Parallel()
	const live, test = "sk_live_abcdefgh", "sk_test_abcdefgh"
	for _, c := range []struct{ key, url, want string }{
		{test, "https://example.com/notepay", "PUBLIC_URL: must not have a path"},
		{test, "https://example.com//", ""}, // only trailing slashes are removed
		{test, "https://user:pass@example.com", "PUBLIC_URL: must not hold a user name"},
		{test, "https://example.com?", "PUBLIC_URL: has to be a URL"},
		{test, "https://:3000", "PUBLIC_URL: has to be a URL"},
		{test, "http://pay.example.com", ""},
		{live, "http://pay.example.com", "PUBLIC_URL: has to begin with https://"},
		{live, "HTTP://PAY.example.com/", "PUBLIC_URL: has to begin with https://"},
		{live, "http://203.0.113.7:3000", "PUBLIC_URL: has to begin with https://"},
		{live, "http://192.168.1.7:3000", ""},
		{live, "http://localhost:3000", ""},
		{live, "http://[::1]:3000", ""},
		{live, "https://pay.example.com", ""},
		{test, "https://pay.example.com:99999", "PUBLIC_URL: \"99999\" is not a port"},
		{test, "https://pay.example.com:0", "PUBLIC_URL: \"0\" is not a port"},
		{test, "https://w\u00e4sche.example", "PUBLIC_URL: write the host as it stands in the DNS"},
		{test, "https://pay.example.com\u200b", "PUBLIC_URL: holds an invisible character (U+200B)"},
		{test, "https://*.example.com", "PUBLIC_URL: has to be a URL"},
		{test, "https://pay..example.com", "PUBLIC_URL: has to be a URL"},
		{test, "https://a;b.example.com", "PUBLIC_URL: has to be a URL"},
		{live, "http://[fe80::1%25eth0]", "PUBLIC_URL: has to be a URL"},
	} {
		values := good()
		values["STRIPE_SECRET_KEY"], values["PUBLIC_URL"] = c.key, c.url
		_, err := load(t, values)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s with %.8s: error %v; want %q", c.url, c.key, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "pass@") {
			t.Errorf("the message prints a password: %v", err)
		}
	}
}

func TestLoadRewritesThePublicURLAsBrowsersDo(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"HTTPS://Pay.Example.COM/":     "https://pay.example.com",
		"https://pay.example.com:443":  "https://pay.example.com",
		"https://pay.example.com:":     "https://pay.example.com",
		"http://localhost:80":          "http://localhost",
		"https://pay.example.com:8443": "https://pay.example.com:8443",
		"http://localhost:443":         "http://localhost:443",
		"http://[::1]:80":              "http://[::1]",
		"http://[::1]:":                "http://[::1]",
		"https://xn--wsche-gra.com":    "https://xn--wsche-gra.com",
		"https://192.0.2.7":            "https://192.0.2.7",
		"https://pay_1.example.com":    "https://pay_1.example.com",
		"https://n":                    "https://n",
	} {
		values := good()
		values["PUBLIC_URL"] = given
		if s, err := load(t, values); err != nil || s.PublicURL != want {
			t.Errorf("%s: %+v, %v; want %s", given, s, err, want)
		}
	}
	values := good()
	values["PUBLIC_URL"] = "pay.example.com"
	if _, err := load(t, values); err == nil || strings.Count(err.Error(), "PUBLIC_URL") != 1 {
		t.Errorf("a host alone: error %v; want one line", err)
	}
}

func TestLoadSendsNoLiveKeyInTheClear(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"STRIPE_API_URL", "NOTEHUB_API_URL", "NOTEHUB_AUTH_URL"} {
		for address, refused := range map[string]bool{
			"http://api.example.com": true, "HTTP://api.example.com": true, "http://127.0.0.1:12111": false,
			"https://api.example.com": false,
		} {
			values := good()
			values["STRIPE_SECRET_KEY"], values[name] = "sk_live_abcdefgh", address
			if _, err := load(t, values); (err != nil) != refused ||
				err != nil && !strings.Contains(err.Error(), name+": has to begin with https://") {
				t.Errorf("%s=%s: error %v", name, address, err)
			}
		}
	}
}

func TestLoadRejectsInvisibleCharacters(t *testing.T) {
	t.Parallel()
	for name := range good() {
		values := good()
		values[name] += "a\u00a0b\u200b"
		if _, err := load(t, values); err == nil ||
			!strings.Contains(err.Error(), name+": holds an invisible character (U+00A0)") {
			t.Errorf("%s: error %v; want one that names the character", name, err)
		}
	}
	for value, fails := range map[string]bool{
		"Wasch\u00a0& Fertig":                false,
		"\U0001f468\u200d\U0001f469 Laundry": false, // joined into one sign
		"Wasch\nFertig":                      true,
		"Wasch\x1b[31m":                      true,
	} {
		values := good()
		values["BRAND_NAME"] = value
		if _, err := load(t, values); (err != nil) != fails {
			t.Errorf("BRAND_NAME=%q: error %v", value, err)
		}
	}
}

// Docker and systemd know no comments after a value.
func TestLoadRejectsACommentInTheEnvironment(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]string{
		"OPERATOR_TOKEN": "operator-token-1234 # for the console", "DATABASE_URL": "notepay.db\t# the ledger",
		"NOTEHUB_PROJECT_UID": "app:1 #", "TZ": "UTC # the office's",
	} {
		values := good()
		values[name] = value
		if _, err := load(t, values); err == nil || !strings.Contains(err.Error(), name+": holds a space and a #") {
			t.Errorf("%s: error %v; want it refused", name, err)
		}
	}
	values := good()
	values["BRAND_NAME"], values["OPERATOR_TOKEN"] = "Laundry # 7", "operator#token#1234"
	s, err := Load(
		writeFile(t, "TZ=UTC # the office's\nNOTEHUB_TOKEN='a # b'\n"),
		func(name string) string { return values[name] },
	)
	if err != nil || s.BrandName != "Laundry # 7" || s.TZ != "UTC" {
		t.Errorf("Load = %+v, %v; want the name as it is, and the file's comment left out", s, err)
	}
}

func TestLoadRejectsAPlaceholder(t *testing.T) {
	t.Parallel()
	for value, fails := range map[string]bool{
		"${OPERATOR_TOKEN}": true, "${OPERATOR_TOKEN:-change-me}": true, "$OPERATOR_TOKEN_X": true,
		"$(cat /run/secrets/x)": true,
		"%OPERATOR_TOKEN%":      true, "{{ operator_token }}": true, "<your operator token>": true,
		"xTvDqw$27correct-horse": false, "$correct${horse}battery": false, "ab$$cdefghijklmnopqr": false,
	} {
		values := good()
		values["OPERATOR_TOKEN"] = value
		_, err := load(t, values)
		refused := err != nil && strings.Contains(err.Error(), "OPERATOR_TOKEN: is a placeholder")
		if refused != fails {
			t.Errorf("%s: error %v", value, err)
		}
	}
	values := good()
	values["BRAND_NAME"] = "<Laundry>"
	if _, err := load(t, values); err != nil {
		t.Errorf("a name: %v", err)
	}
}

func TestWarningsNameALineThatIsSetAgain(t *testing.T) {
	t.Parallel()
	got := strings.Join(Warnings(writeFile(t, "PORT=1\nTZ=UTC\nPORT=2\nBRAND_NAME=Wasch\u00a0\n"), nil), "\n")
	if !strings.Contains(got, "line 3: PORT is set again; the last line counts") || strings.Contains(got, "comment") {
		t.Errorf("warnings %q; want one for line 3", got)
	}
}

func TestLoadNamesTheRangeOfAPort(t *testing.T) {
	t.Parallel()
	for name, wrong := range map[string][]string{
		"PORT":        {"80000", "-1", "99999999999999999999", "http", "3000a"},
		"LISTEN_ADDR": {"127.0.0.1:80000", "127.0.0.1:", "127.0.0.1:-1"},
	} {
		for _, value := range wrong {
			values := good()
			values[name] = value
			if _, err := load(t, values); err == nil || !strings.Contains(err.Error(), "from 0 to 65535") {
				t.Errorf("%s=%s: error %v; want one that names the range", name, value, err)
			}
		}
	}
}

func TestLoadPrintsNoSecretThatIsInTheWrongSetting(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"PORT", "STRIPE_PRICE_ID", "CREDIT_LIFETIME", "NOTEHUB_REQUESTS_PER_MINUTE"} {
		values := good()
		values[name] = "sk_live_51verysecret"
		if _, err := load(t, values); err == nil || strings.Contains(err.Error(), "verysecret") {
			t.Errorf("%s: error %v; want one without the secret", name, err)
		}
	}
}

func FuzzReadFile(f *testing.F) {
	for _, text := range []string{
		"A=$B\nB=1", `A="b" # c`, `A='$(b)'`, "export A: b", "\ufeffA=1", "A=\u201cb\u201d", `A="\\"`,
		"A=\r\nB", "=", "A==", `A="`, "A='\"", "A=b #c #d",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		file := filepath.Join(t.TempDir(), ".env")
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		values, err := ReadFile(file)
		if err != nil {
			return
		}
		for name, value := range values {
			if name == "" || strings.ContainsAny(value, "\n\r\x00") {
				t.Errorf("%q is read as %q=%q", text, name, value)
			}
			if !strings.Contains(string(text), value) { // no character vanishes, and none is added
				t.Errorf("%q is read as %q=%q, which is not in the file", text, name, value)
			}
		}
	})
}
