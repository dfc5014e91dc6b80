package config

import (
	"strings"
	"testing"
)

func TestLoadOfTheBuiltInHTTPS(t *testing.T) {
	t.Parallel()
	type vars = map[string]string
	for name, c := range map[string]struct {
		set  vars
		want string // of the error; "" for none
	}{
		"one domain": {vars{"TLS_DOMAINS": "pay.example.com"}, ""},
		"files": {
			vars{"TLS_CERT_FILE": "c", "TLS_KEY_FILE": "k", "TLS_REDIRECT_ADDR": "off"}, "",
		},
		"commas alone": {vars{"TLS_DOMAINS": ","}, "TLS_DOMAINS: holds no domain"},
		"a wildcard": {
			vars{"TLS_DOMAINS": "*.example.com"}, "TLS_DOMAINS: \"*.example.com\" is a wildcard",
		},
		"a URL":      {vars{"TLS_DOMAINS": "https://pay.example.com"}, "is not a public domain"},
		"an address": {vars{"TLS_DOMAINS": "203.0.113.9"}, "is not a public domain"},
		"this host":  {vars{"TLS_DOMAINS": "localhost"}, "is not a public domain"},
		"a port":     {vars{"TLS_DOMAINS": "pay.example.com:443"}, "is not a public domain"},
		"domains and files": {
			vars{"TLS_DOMAINS": "a.example.com", "TLS_CERT_FILE": "c", "TLS_KEY_FILE": "k"}, "not both",
		},
		"no key":         {vars{"TLS_CERT_FILE": "c"}, "TLS_KEY_FILE: required"},
		"no certificate": {vars{"TLS_KEY_FILE": "k"}, "TLS_CERT_FILE: required"},
		"no port for the CA": {
			vars{"TLS_DOMAINS": "a.example.com", "TLS_REDIRECT_ADDR": "off"}, "TLS_REDIRECT_ADDR: off",
		},
		"a port alone": {
			vars{"TLS_DOMAINS": "a.example.com", "TLS_REDIRECT_ADDR": "80"}, "TLS_REDIRECT_ADDR",
		},
		"an authority on http": {
			vars{"ACME_DIRECTORY": "http://ca.example/dir"}, "ACME_DIRECTORY: has to be an https://",
		},
		"another public name": {
			vars{"TLS_DOMAINS": "a.example.com", "PUBLIC_URL": "https://b.example.com"}, "TLS_DOMAINS: add",
		},
		"a public name on http": {
			vars{"TLS_DOMAINS": "a.example.com", "PUBLIC_URL": "http://a.example.com"}, "begin with https",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			values := good()
			for k, v := range c.set {
				values[k] = v
			}
			_, err := load(t, values)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v; want %q", err, c.want)
			}
		})
	}
}

func TestDomains(t *testing.T) {
	t.Parallel()
	values := good()
	values["TLS_DOMAINS"] = "Pay.Example.com., www.example.com,pay.example.com"
	s, err := load(t, values)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(s.Domains(), " "); got != "pay.example.com www.example.com" {
		t.Errorf("domains %q; want lower case and each once", got)
	}
	if s.PublicURL != "https://pay.example.com" || s.Address() != ":443" || !s.TLS() || !s.ACME() {
		t.Errorf("%q at %s; want the first domain at the port of HTTPS", s.PublicURL, s.Address())
	}
	values["PORT"] = "8443"
	if s, err = load(t, values); err != nil || s.Address() != ":8443" {
		t.Errorf("%v, %v; want the port that was set", s, err)
	}
}
