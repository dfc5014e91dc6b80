package listen

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"notepay/internal/config"
)

// TestOpenAsSystemd is the process that TestOpenTakesSystemdsSockets starts. It prints which sockets
// it took.
func TestOpenAsSystemd(t *testing.T) {
	kind := os.Getenv("NOTEPAY_TEST_SOCKETS")
	if kind == "" {
		t.Skip("only for another test")
	}
	s := &config.Settings{ListenAddr: "127.0.0.1:0", TLSRedirectAddr: "127.0.0.1:0"}
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
	if err := o.Close(); err != nil {
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
	}{
		{"the named one is for http", "https", "http:https", files, addrs[1], addrs[0]},
		{"without names the second is for http", "https", "", files, addrs[0], addrs[1]},
		{"the missing one is opened", "https", "https", files[:1], addrs[0], ""},
		{"behind a proxy one is enough", "proxy", "http", files[:1], addrs[0], ""},
		{"behind a proxy the second is closed", "proxy", "", files, addrs[0], ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := exec.Command("sh", "-c", `LISTEN_PID=$$ exec "$0" -test.run='^TestOpenAsSystemd$'`, os.Args[0])
			cmd.ExtraFiles = c.files
			cmd.Env = append(os.Environ(), "NOTEPAY_TEST_SOCKETS="+c.kind, "LISTEN_FDNAMES="+c.names,
				fmt.Sprint("LISTEN_FDS=", len(c.files)))
			text, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			if got := string(text); !strings.Contains(got, "main "+c.main+"\n") ||
				c.redirect != "" && !strings.Contains(got, "redirect "+c.redirect+"\n") ||
				strings.Contains(got, "redirect ") != (c.kind == "https") {
				t.Errorf("%s\nwant main %s, redirect %s", got, c.main, c.redirect)
			}
		})
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
