package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLogo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, row := range map[string]struct{ content, kind, why string }{
		"logo.png":  {"\x89PNG\r\n\x1a\nx", "image/png", ""},
		"logo.SVG":  {`<?xml version="1.0"?><svg/>`, "image/svg+xml", ""},
		"wrong.png": {"<svg/>", "", "neither"},
		"logo.gif":  {"GIF89a", "", "neither"},
		"large.svg": {"<svg>" + strings.Repeat(" ", maxLogoSize), "", "at most"},
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(row.content), 0o600); err != nil {
			t.Fatal(err)
		}
		s := Settings{BrandLogo: path, CheckoutLanguage: "en"}
		image, kind, err := s.Logo()
		if kind != row.kind || (err == nil) != (row.why == "") || err == nil && string(image) != row.content {
			t.Errorf("%s: %q, %v; want %q", name, kind, err, row.kind)
		}
		problems := strings.Join(s.checkShop(), "\n")
		if !strings.Contains(problems, row.why) || (problems == "") != (row.why == "") {
			t.Errorf("%s: problems %q; want %q", name, problems, row.why)
		}
	}
	if _, _, err := (&Settings{BrandLogo: filepath.Join(dir, "none.png")}).Logo(); err == nil {
		t.Error("a logo that does not exist is accepted")
	}
}

func TestSupportContactWithoutScheme(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"mailto:help@example.com": "help@example.com", "TEL: +49 30 123": "+49 30 123", "tel:": "tel:",
		"https://example.com": "https://example.com", "help@example.com": "help@example.com",
	} {
		values := good()
		values["SUPPORT_CONTACT"] = given
		if s, err := load(t, values); err != nil || s.SupportContact != want {
			t.Errorf("%q: %+v, %v; want %q", given, s, err, want)
		}
	}
}
