package apptest

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"testing/synctest"
)

// ChecksNow presses the button of the set-up page.
func (b *OperatorsBrowser) ChecksNow() *httptest.ResponseRecorder {
	b.Helper()
	return b.Press("/operator/setup", "/operator/setup")
}

// Press sends a form on a connection of its own, and reads the answer as it comes.
func (p *pipes) Press(f *Front, path, cookie, form string) *Reader {
	f.Helper()
	ours, theirs := net.Pipe()
	p.conns <- theirs
	r := &Reader{f: f, Conn: ours}
	f.Cleanup(func() { _ = ours.Close() })
	_, err := fmt.Fprintf(
		ours,
		"POST %s HTTP/1.1\r\nHost: pay.test\r\nCookie: %s\r\nSec-Fetch-Site: same-origin\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s",
		path,
		cookie,
		len(form),
		form,
	)
	if err != nil {
		f.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(ours), nil)
	if err != nil || response.StatusCode != http.StatusOK {
		f.Fatalf("%s: %v, %v; want a page", path, response, err)
	}
	go r.follow(response.Body)
	synctest.Wait()
	return r
}
