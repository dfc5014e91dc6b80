package ledger

import "testing"

func TestCertificateValue(t *testing.T) {
	t.Parallel()
	path := freshSQLite(t)
	l := open(t, path)
	for _, value := range []string{"", "first", "second\nline", ""} {
		if err := l.SetCertificateValue(t.Context(), "certificate", value); err != nil {
			t.Fatal(err)
		}
		if got, err := l.CertificateValue(t.Context(), "certificate"); err != nil || got != value {
			t.Errorf("the value is %q (%v); want %q", got, err, value)
		}
		if got, err := l.CertificateValue(t.Context(), "another"); err != nil || got != "" {
			t.Errorf("another name has %q (%v); want nothing", got, err)
		}
	}
}
