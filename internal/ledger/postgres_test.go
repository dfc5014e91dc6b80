package ledger

import (
	"strings"
	"testing"
)

func TestOpenErrorsOmitThePassword(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]string{
		"no server listens":       "postgres://notepay:hunter2@127.0.0.1:1/notepay",
		"a bad escape":            "postgres://notepay:hunter2%zz@127.0.0.1:1/notepay",
		"a space":                 "postgres://notepay:hunter2 @127.0.0.1:1/notepay",
		"a number and a slash":    "postgres://notepay:12/hunter2@127.0.0.1:1/notepay",
		"a question mark":         "postgres://notepay:12?hunter2@127.0.0.1:1/notepay",
		"a number sign":           "postgres://notepay:12#hunter2@127.0.0.1:1/notepay",
		"a slash in the password": "postgres://notepay:hunter2/x@127.0.0.1:1/notepay",
		"a bad port":              "postgres://notepay:hunter2@127.0.0.1:none/notepay",
		"a setting of no value":   "postgresql://notepay:hunter2@127.0.0.1:1/notepay?sslmode=perhaps",
		"a password as a setting": "postgres://127.0.0.1:1/notepay?user=notepay&password=hunter2",
		"and one with a bad port": "postgres://127.0.0.1:none/notepay?user=notepay&password=hunter2",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := Open(t.Context(), url)
			if err == nil {
				_ = l.Close()
				t.Fatal("it was opened")
			}
			inspected := CheckWritable(t.Context(), url)
			if inspected == nil || strings.Contains(err.Error()+inspected.Error(), "hunter2") {
				t.Errorf("the error holds the password: %v; %v", err, inspected)
			}
		})
	}
}
