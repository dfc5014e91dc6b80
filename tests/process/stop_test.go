package process

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"notepay/internal/apptest"
)

// A client has connected when the service begins to stop, and its request is on the way. It is
// answered, because nothing else would tell the client to try again.
func TestStopAnswersEstablishedConnections(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("there are no signals")
	}
	w := apptest.NewWorld(t)
	p := w.Spawn()
	host := strings.TrimPrefix(p.Url, "http://")
	conn, err := net.Dial("tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// Connections are accepted in turn, so the first one is accepted when a later one is answered.
	(&apptest.Service{W: w, Url: p.Url}).Get("/health")
	if err := p.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for refused := false; !refused; pause(time.Millisecond) { // until the service has begun to stop
		next, err := net.Dial("tcp", host)
		if refused = err != nil; !refused {
			_ = next.Close()
		}
	}
	if _, err := fmt.Fprintf(conn, "GET /health HTTP/1.1\r\nHost: %s\r\n\r\n", host); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	r, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("the request is not answered: %v", err)
	}
	_ = r.Body.Close()
	if r.StatusCode != http.StatusOK {
		t.Errorf("%s; want 200", r.Status)
	}
	if err := <-p.Ended; err != nil {
		t.Errorf("after SIGTERM: %v; want exit code 0", err)
	}
	if next, err := net.Dial("tcp", host); err == nil {
		_ = next.Close()
		t.Error("the port stays open after the end")
	}
}
