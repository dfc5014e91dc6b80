//go:build linux

package bench

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"notepay/internal/app"
	"notepay/internal/apptest"
	"notepay/internal/apptest/proxytest"
)

const (
	publicName  = "pay.example.com"
	lorises     = 1000
	idleClients = 10_500 // more than notepay keeps open
	resetters   = 8
	slowDevices = 50
	slowPairs   = 50 // of one scan and one webhook
)

// front is HTTPS in front of notepay's handler: notepay's own, or nginx.
type front struct {
	t     *testing.T
	world *apptest.World
	addr  string
	pids  []int // of all its processes
	roots *x509.CertPool
}

// dialFrom opens a connection from one of 20 addresses of strangers, or from a customer's.
func (f *front) dialFrom(stranger int, protocols ...string) (*tls.Conn, error) {
	from := net.IPv4(127, 0, 0, 9)
	if stranger >= 0 {
		from = net.IPv4(127, 0, 1, byte(1+stranger%20))
	}
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: from}, Timeout: 30 * time.Second}
	return tls.DialWithDialer(dialer, "tcp", f.addr, &tls.Config{
		RootCAs: f.roots, ServerName: publicName, NextProtos: protocols,
	})
}

// call sends one request over a connection of its own, as most customers and Stripe do.
func (f *front) call(request []byte) (status int, body []byte, err error) {
	conn, err := f.dialFrom(-1, "http/1.1")
	if err != nil {
		return 0, nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return 0, nil, err
	}
	return exchange(conn, request)
}

func exchange(conn net.Conn, request []byte) (status int, body []byte, err error) {
	if _, err := conn.Write(request); err != nil {
		return 0, nil, err
	}
	reply, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, nil, err
	}
	defer reply.Body.Close()
	body, err = io.ReadAll(reply.Body)
	return reply.StatusCode, body, err
}

func getRequest(path string) []byte {
	return fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, publicName)
}

// scanRequest returns the request of a customer who scans a machine. No payment holds it.
func scanRequest() []byte { return getRequest(fmt.Sprintf("/pay?device=dev:%d", slowDevices)) }

// newFront starts notepay with settings, and with nginx if block is not empty.
func newFront(t *testing.T, program, block string, roots *x509.CertPool, settings ...string) *front {
	t.Helper()
	s := &subject{World: apptest.NewWorld(t).Set("LOG_LEVEL", "info", "NOTEHUB_REQUESTS_PER_MINUTE", "300000")}
	s.Set(settings...)
	for n := range slowDevices + 1 { // the last one is only scanned
		sellAt(s.World, n)
	}
	s.start(program)
	f := &front{t: t, world: s.World, addr: s.addr(), pids: []int{s.pid}, roots: roots}
	if block != "" {
		f.behindNginx(block)
	}
	s.Until("all links are known", func() bool {
		var h app.Health
		_, text, err := f.call(getRequest("/health"))
		return err == nil && json.Unmarshal(text, &h) == nil && h.Links == slowDevices+1
	})
	s.Until("the scanned machine sells", func() bool {
		status, _, err := f.call(scanRequest())
		return err == nil && status == http.StatusTemporaryRedirect
	})
	return f
}

// behindNginx starts nginx with a server block for the front's address, and moves the front there.
func (f *front) behindNginx(block string) {
	f.t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.t.Fatal(err)
	}
	addr := free.Addr().String()
	if err := free.Close(); err != nil {
		f.t.Fatal(err)
	}
	block = strings.NewReplacer("listen 443", "listen "+addr, "127.0.0.1:3000", f.addr).Replace(block)
	pid, err := proxytest.StartNginx(f.t, f.t.TempDir(), block)
	if err != nil {
		f.t.Fatal(err)
	}
	f.addr = addr
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if conn, err := net.Dial("tcp", addr); err == nil {
			_ = conn.Close()
			break
		}
		if time.Now().After(deadline) {
			f.t.Fatal("nginx does not listen")
		}
	}
	f.pids = append(f.pids, pid)
	children, err := os.ReadFile(fmt.Sprintf("/proc/%[1]d/task/%[1]d/children", pid))
	if err != nil {
		f.t.Fatal(err)
	}
	for child := range strings.FieldsSeq(string(children)) {
		pid, err := strconv.Atoi(child)
		if err != nil {
			f.t.Fatal(err)
		}
		f.pids = append(f.pids, pid)
	}
}

// outcome describes the answers that customers and Stripe got during an attack.
type outcome struct {
	median, p99 time.Duration
	wrong       int     // answers that were not right, or missing
	peak        float64 // memory of all processes, in MB
	attacked    int64   // connections or resets of the attack
}

// under sends requests while an attack goes on.
func (f *front) under(attack func(*front, <-chan struct{}, *atomic.Int64) (ready func())) outcome {
	f.t.Helper()
	for _, pid := range f.pids {
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil {
			f.t.Fatalf("reset the peak of memory: %v", err)
		}
	}
	var o outcome
	var count atomic.Int64
	over := make(chan struct{})
	wait := attack(f, over, &count)
	var took []time.Duration
	webhooks, _ := paidEvent(f.world, slowPairs, slowDevices) // their signatures are good for five minutes
	var requests [][]byte
	for _, webhook := range webhooks {
		requests = append(requests, scanRequest(), webhook)
	}
	for _, request := range requests {
		began := time.Now()
		status, text, err := f.call(request)
		took = append(took, time.Since(began))
		want := http.StatusTemporaryRedirect
		if bytes.HasPrefix(request, []byte("POST")) {
			want = http.StatusOK
		}
		if err != nil || status != want {
			o.wrong++
			f.t.Logf("answer %d %s, %v; want %d", status, text, err, want)
		}
		time.Sleep(10 * time.Millisecond)
	}
	o.peak, o.attacked = f.peak(), count.Load()
	close(over)
	wait()
	o.median, o.p99 = quantile(took, 0.5), quantile(took, 0.99)
	return o
}

// peak returns the sum of the largest memory of all processes, in MB.
func (f *front) peak() (sum float64) {
	f.t.Helper()
	for _, pid := range f.pids {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			f.t.Fatal(err)
		}
		found := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)
		if found == nil {
			f.t.Fatalf("no peak in %s", status)
		}
		kb, err := strconv.ParseFloat(string(found[1]), 64)
		if err != nil {
			f.t.Fatal(err)
		}
		sum += kb / 1000
	}
	return sum
}

// noAttack is the quiet hour to compare with.
func noAttack(*front, <-chan struct{}, *atomic.Int64) func() { return func() {} }

// slowLoris keeps connections that send a header field every half second and never a whole request.
func slowLoris(f *front, over <-chan struct{}, count *atomic.Int64) func() {
	var work, first sync.WaitGroup
	first.Add(lorises)
	for n := range lorises {
		work.Go(func() {
			opened := sync.OnceFunc(first.Done)
			defer opened()
			for {
				conn, err := f.dialFrom(n, "http/1.1")
				opened()
				if err == nil {
					count.Add(1)
					text := "GET / HTTP/1.1\r\nHost: x\r\n"
					for err == nil && !waits(over, 500*time.Millisecond) {
						_, err = io.WriteString(conn, text)
						text = "X-A: b\r\n"
					}
					_ = conn.Close()
				}
				if waits(over, 10*time.Millisecond) {
					return
				}
			}
		})
	}
	first.Wait()
	return work.Wait
}

// waits reports whether over is closed within a time.
func waits(over <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-over:
		return true
	case <-timer.C:
		return false
	}
}

// idleConnections opens connections, sends one request on each, and leaves them open.
func idleConnections(f *front, over <-chan struct{}, count *atomic.Int64) func() {
	var opening sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	var next atomic.Int64
	for range 32 {
		opening.Go(func() {
			for n := next.Add(1); n <= idleClients; n = next.Add(1) {
				conn, err := f.dialFrom(int(n), "http/1.1")
				if err == nil {
					_, _, err = exchange(conn, scanRequest())
				}
				if err != nil {
					continue
				}
				count.Add(1)
				mu.Lock()
				conns = append(conns, conn)
				mu.Unlock()
			}
		})
	}
	opening.Wait()
	return func() {
		for _, conn := range conns {
			_ = conn.Close()
		}
	}
}

// http2Frame returns a frame with its header.
func http2Frame(kind, flags byte, stream uint32, payload ...byte) []byte {
	return append([]byte{
		0, byte(len(payload) >> 8), byte(len(payload)), kind, flags,
		byte(stream >> 24), byte(stream >> 16), byte(stream >> 8), byte(stream),
	}, payload...)
}

// rapidReset opens streams and resets each at once, as fast as the connection takes it.
func rapidReset(f *front, over <-chan struct{}, count *atomic.Int64) func() {
	// :method GET and :scheme https of the static table, then :path and :authority with their values.
	fields := append([]byte{0x82, 0x87, 0x04, byte(len("/health"))}, "/health"...)
	fields = append(append(fields, 0x01, byte(len(publicName))), publicName...)
	var work sync.WaitGroup
	for n := range resetters {
		work.Go(func() {
			for !waits(over, time.Millisecond) {
				conn, err := f.dialFrom(n, "h2")
				if err != nil {
					continue
				}
				go func() { _, _ = io.Copy(io.Discard, conn) }()
				begin := append([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), http2Frame(4, 0, 0)...)
				_, err = conn.Write(append(begin, http2Frame(4, 1, 0)...))
				for stream := uint32(1); err == nil && stream < 1<<30; {
					var batch []byte
					for range 100 {
						batch = append(batch, http2Frame(1, 5, stream, fields...)...)
						batch = append(batch, http2Frame(3, 0, stream, 0, 0, 0, 8)...)
						stream += 2
					}
					if _, err = conn.Write(batch); err == nil {
						count.Add(100)
					}
					select {
					case <-over:
						err = errors.New("over")
					default:
					}
				}
				_ = conn.Close()
			}
		})
	}
	return work.Wait
}

// benchSlow attacks notepay's own HTTPS, and nginx in front of another notepay, while customers scan
// and Stripe sends webhooks.
func benchSlow(t *testing.T, r *report) {
	dir := t.TempDir()
	certFile, keyFile, roots := proxytest.Certificate(t, dir, publicName)
	text, err := os.ReadFile(apptest.InModule(t, "docs", "proxies.md"))
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```nginx\n(.*?)```").FindSubmatch(text)
	if block == nil {
		t.Fatal("docs/proxies.md has no configuration of nginx")
	}
	nginx := strings.NewReplacer("/etc/ssl/pay.example.com.crt", certFile, "/etc/ssl/pay.example.com.key", keyFile).
		Replace(string(block[1]))
	path := binary(t)
	own := newFront(t, path, "", roots, "TLS_CERT_FILE", certFile, "TLS_KEY_FILE", keyFile, "TLS_REDIRECT_ADDR", "off")
	behind := newFront(t, path, nginx, roots, "TRUSTED_PROXIES", "127.0.0.1")
	for _, attack := range []struct {
		name, unit string
		run        func(*front, <-chan struct{}, *atomic.Int64) func()
	}{
		{"no attack", "", noAttack},
		{"slow-loris of 1,000", "connections", slowLoris},
		{"HTTP/2 rapid reset", "resets", rapidReset},
		{"10,500 idle connections", "connections", idleConnections},
	} {
		a, b := own.under(attack.run), behind.under(attack.run)
		if attack.unit != "" {
			r.add(t, figure{
				name:     attack.name + ": " + attack.unit + " made",
				got:      thousands(int(a.attacked)),
				baseline: "nginx in front: " + thousands(int(b.attacked)),
			})
		}
		r.add(t, figure{
			name:     attack.name + ": answer, 99 of 100",
			got:      fmt.Sprintf("%s; median %s", short(a.p99), short(a.median)),
			baseline: fmt.Sprintf("nginx in front: %s; median %s", short(b.p99), short(b.median)),
			ratio:    fmt.Sprintf("%.2f", a.p99.Seconds()/b.p99.Seconds()),
		})
		r.add(t, figure{
			name:     attack.name + ": wrong answers of 100",
			got:      fmt.Sprint(a.wrong),
			baseline: fmt.Sprintf("nginx in front: %d", b.wrong),
			target:   "0",
			missed:   a.wrong > 0,
		})
		r.add(t, figure{
			name:     attack.name + ": peak memory",
			got:      wholeMB(a.peak),
			baseline: "nginx and notepay behind it: " + wholeMB(b.peak),
			ratio:    fmt.Sprintf("%.2f", a.peak/b.peak),
			target:   "≤ 512 MB",
			missed:   a.peak > 512,
		})
	}
}
