package listen

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"notepay/internal/config"
)

// TestOpenAsSystemd is the process that TestOpenTakesSystemdsSockets starts. It prints which sockets
// it took.
func TestOpenAsSystemd(t *testing.T) {
	kind := os.Getenv("NOTEPAY_TEST_SOCKETS")
	if kind == "" {
		t.Skip("only for another test")
	}
	s := &config.Settings{
		ListenAddr:      cmp.Or(os.Getenv("NOTEPAY_TEST_MAIN"), "127.0.0.1:0"),
		TLSRedirectAddr: cmp.Or(os.Getenv("NOTEPAY_TEST_REDIRECT"), "127.0.0.1:0"),
	}
	if kind == "https" {
		s.TLSDomains = "pay.example.com"
	}
	o, err := Open(s)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("main", o.Main.Addr())
	if o.Redirect != nil {
		fmt.Println("redirect", o.Redirect.Addr())
	}
	if err := errors.Join(o.Keep(), o.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestOpenTakesSystemdsSockets(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("systemd runs on Linux")
	}
	var files []*os.File
	var addrs []string
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		f, err := l.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files, addrs = append(files, f), append(addrs, l.Addr().String())
	}
	for _, c := range []struct {
		name, kind, names string
		files             []*os.File
		main, redirect    string // "" for one that notepay opened or does not have
		said              string // to systemd
	}{
		{"the named one is for http", "https", "http:https", files, addrs[1], addrs[0], ""},
		{"without names the second is for http", "https", "", files, addrs[0], addrs[1], ""},
		{"the missing one is opened", "https", "https", files[:1], addrs[0], "", "FDSTORE notepay-redirect"},
		{"behind a proxy one is enough", "proxy", "http", files[:1], addrs[0], "", ""},
		{"behind a proxy the second is closed", "proxy", "", files, addrs[0], "", ""},
		{
			"those of an earlier process are taken and kept again", "https", "notepay-redirect:notepay-main", files,
			addrs[1], addrs[0], "FDSTORE notepay-main FDSTORE notepay-redirect",
		},
		{
			"one that is not used any more is dropped", "proxy", "notepay-redirect:notepay-main", files,
			addrs[1], "", "FDSTOREREMOVE notepay-redirect FDSTORE notepay-main",
		},
		{
			"one with another address is dropped", "https", "notepay-main:notepay-redirect", files,
			"", "", "FDSTOREREMOVE notepay-main FDSTOREREMOVE notepay-redirect " +
				"FDSTORE notepay-main FDSTORE notepay-redirect",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			systemd := newSystemd(t)
			cmd := exec.Command("sh", "-c", `LISTEN_PID=$$ exec "$0" -test.run='^TestOpenAsSystemd$'`, os.Args[0])
			cmd.ExtraFiles = c.files
			cmd.Env = append(os.Environ(), "NOTEPAY_TEST_SOCKETS="+c.kind, "LISTEN_FDNAMES="+c.names,
				fmt.Sprint("LISTEN_FDS=", len(c.files)), "NOTIFY_SOCKET="+systemd.LocalAddr().String())
			if strings.HasPrefix(c.names, "notepay-") && c.main != "" {
				cmd.Env = append(cmd.Env, "NOTEPAY_TEST_MAIN="+addrs[1], "NOTEPAY_TEST_REDIRECT="+addrs[0])
			}
			text, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			if got := string(text); !strings.Contains(got, "main "+c.main) ||
				c.redirect != "" && !strings.Contains(got, "redirect "+c.redirect+"\n") ||
				strings.Contains(got, "redirect ") != (c.kind == "https") {
				t.Errorf("%s\nwant main %s, redirect %s", got, c.main, c.redirect)
			}
			if got := said(systemd); got != c.said {
				t.Errorf("systemd was sent %q; want %q", got, c.said)
			}
		})
	}
}

// newSystemd returns a socket for what a process tells systemd.
func newSystemd(t *testing.T) *net.UnixConn {
	t.Helper()
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: t.TempDir() + "/s", Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// said returns which descriptors a process that has ended gave to systemd, and which it took back.
func said(systemd *net.UnixConn) string {
	var words []string
	text := make([]byte, 100)
	for {
		_ = systemd.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		n, err := systemd.Read(text)
		if err != nil {
			return strings.Join(words, " ")
		}
		state, name, _ := strings.Cut(string(text[:n]), "\nFDNAME=")
		words = append(words, strings.TrimSuffix(state, "=1"), name)
	}
}

func TestOpenSaysWhatToDo(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	addr := taken.Addr().String()
	for want, s := range map[string]*config.Settings{
		"taken by another program: set LISTEN_ADDR": {ListenAddr: addr},
		"perhaps a web server: stop it, or set TLS_REDIRECT_ADDR": {
			TLSDomains: "a.example.com", ListenAddr: "127.0.0.1:0", TLSRedirectAddr: addr,
		},
	} {
		o, err := Open(s)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
		if o.Main != nil {
			if _, err := o.Main.Accept(); err == nil {
				t.Error("the other socket stays open")
			}
		}
	}
	if err := privilegeError(":80"); !strings.Contains(err.Error(), "AmbientCapabilities=CAP_NET_BIND_SERVICE") {
		t.Errorf("%v; want the line of the unit", err)
	}
}
