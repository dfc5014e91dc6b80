package contract

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// newPostgres starts a PostgreSQL server and returns the URL of an empty database. It ends with the
// test.
func newPostgres(t *testing.T) (url string) {
	t.Helper()
	if found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb"); err != nil || len(found) == 0 {
		unavailable(t, "PostgreSQL is missing (apt-get install postgresql)")
	}
	script := exec.Command("../postgres.sh", "-")
	script.Stderr = t.Output()
	input, err := script.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := script.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := script.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = input.Close()
		_, _ = io.Copy(io.Discard, output)
		if err := script.Wait(); err != nil {
			t.Errorf("tests/postgres.sh: %v", err)
		}
	})
	line, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		t.Fatalf("tests/postgres.sh: %v", err)
	}
	return strings.TrimSpace(line)
}

// serves returns the serial number of the certificate that a notepay serves, "" for none.
func (p *program) serves(a *authority) string {
	p.t.Helper()
	conn, err := tls.Dial("tcp", p.addr, &tls.Config{RootCAs: a.issuerRoots, ServerName: domain})
	if err != nil {
		return ""
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
}

// TestHTTPSOfTwoInstances orders one certificate for two instances on one database, and renews it
// once. The authority asks the instance that does not order.
func TestHTTPSOfTwoInstances(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, 45*time.Second)
	w := newWorld(t, nil, nil)
	w.env["DATABASE_URL"] = newPostgres(t)
	first, _ := w.startHTTPS(a)
	w.until(t, "the first instance serves a certificate", func() bool { return first.serves(a) != "" })

	_, port, err := net.SplitHostPort(a.redirectAddr)
	if err != nil {
		t.Fatal(err)
	}
	const secondHost = "127.0.0.79"
	second, _ := w.startHTTPS(a, "TLS_REDIRECT_ADDR", net.JoinHostPort(secondHost, port))
	before := first.serves(a)
	if got := second.serves(a); got == "" || got != before || a.orders.Load() != 1 {
		t.Errorf("the second instance serves %q after %d orders; want %q and one order", got, a.orders.Load(), before)
	}
	a.point(secondHost)
	w.until(t, "both serve another certificate", func() bool {
		one, other := first.serves(a), second.serves(a)
		return one != "" && one != before && one == other
	})
	renewed := strings.Count(first.printed()+second.printed(), "certificate issued")
	if renewed != 2 || a.orders.Load() != 2 {
		t.Errorf("%d certificates of %d orders; want the first and one renewal", renewed, a.orders.Load())
	}
	if strings.Contains(first.printed()+second.printed(), "certificate not issued") {
		t.Error("an order failed")
	}
}
