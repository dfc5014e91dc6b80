package launch

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRunRejectsWrongFlags(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"--lan"}, {"here"}, {"--host", "here"}} {
		err := Run(t.Context(), args, func(string) string { return "" }, nil, nil)
		if _, ok := errors.AsType[UsageError](err); !ok {
			t.Errorf("%q: %v; want a UsageError", args, err)
		}
	}
}

func TestHostOf(t *testing.T) {
	t.Parallel()
	for wanted, ok := range map[string]bool{"": true, "192.168.1.20": true, "fe80::1": true, "washer.local": false} {
		if got, err := hostOf(wanted); (err == nil) != ok || ok && got != wanted {
			t.Errorf("%q: %q, %v", wanted, got, err)
		}
	}
}

func TestListenTakesAFreePortOnlyIfNoneIsWanted(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := portOf(taken.Addr().String())
	if l, err := listen("", port, pagePort, "DEMO_PORT"); err == nil || !strings.Contains(err.Error(), "DEMO_PORT") {
		t.Errorf("%v, %v; want an error that names DEMO_PORT", l, err)
	}
	l, err := listen("", "", port, "DEMO_PORT")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if got := portOf(l.Addr().String()); got == port {
		t.Errorf("port %s; want a free one", got)
	}
}

func TestSetAsideMovesEachLedgerToADirectoryOfItsOwn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for range 2 {
		if err := os.WriteFile(filepath.Join(dir, "notepay.db"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := setAside(dir); err != nil {
			t.Fatal(err)
		}
	}
	for _, earlier := range []string{"earlier-1", "earlier-2"} {
		if _, err := os.Stat(filepath.Join(dir, earlier, "notepay.db")); err != nil {
			t.Error(err)
		}
	}
	if err := setAside(dir); err != nil {
		t.Errorf("without a ledger: %v", err)
	}
}
