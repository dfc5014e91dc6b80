package upstream

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

const testMax = 4 << 20

// zeros is a body of a number of zero bytes.
type zeros struct{ left int64 }

func (z *zeros) Read(p []byte) (int, error) {
	n := min(int64(len(p)), z.left)
	if z.left -= n; n == 0 {
		return 0, io.EOF
	}
	return int(n), nil
}

// highest returns by how many bytes the used memory grew at most while f ran.
func highest(f func()) int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	before, most := int64(m.HeapInuse+m.StackInuse), int64(0)
	done, measured := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(measured)
		for {
			runtime.ReadMemStats(&m)
			most = max(most, int64(m.HeapInuse+m.StackInuse)-before)
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond): // a sample, no synchronization
			}
		}
	}()
	f()
	close(done)
	<-measured
	return most
}

// Not parallel: it measures memory.
func TestRepliesLimitsMemory(t *testing.T) {
	const size = 100 << 20
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, _ := strconv.Atoi(r.URL.Path[1:])
		w.WriteHeader(status)
		_, _ = io.Copy(w, &zeros{size})
	}))
	defer server.Close()
	client := &http.Client{Transport: new(Replies).Over(server.Client().Transport, testMax)}
	for _, status := range []int{200, 400, 404, 429, 500, 503} {
		var tooLarge, short atomic.Int64
		used := highest(func() {
			var calls sync.WaitGroup
			for range 32 {
				calls.Go(func() {
					resp, err := client.Get(server.URL + "/" + strconv.Itoa(status))
					if err != nil {
						t.Error(err)
						return
					}
					defer resp.Body.Close()
					text, err := io.ReadAll(resp.Body) // as stripe-go reads it
					if errors.Is(err, ErrReplyTooLarge) {
						tooLarge.Add(1)
					} else if err == nil && len(text) == maxErrorReply {
						short.Add(1)
					}
				})
			}
			calls.Wait()
		})
		if used > 64<<20 {
			t.Errorf("32 replies with %d take %d MB; want at most 64", status, used>>20)
		}
		t.Logf("status %d: %d MB", status, used>>20)
		if status == 200 && tooLarge.Load() != 32 || status != 200 && short.Load() != 32 {
			t.Errorf("%d: %d were too large and %d cut; want all", status, tooLarge.Load(), short.Load())
		}
	}
}

// bodyOf returns a transport that answers every request with a body.
func bodyOf(status int, body func() io.ReadCloser) http.RoundTripper {
	return roundTripper(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: status, Body: body()}, nil
	})
}

func TestRepliesReadsWholeBodies(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, freeReply - 1, freeReply, freeReply + 1, 1 << 20, testMax} {
		text := strings.Repeat("x", size)
		b := new(Replies)
		resp, err := b.Over(
			bodyOf(200, func() io.ReadCloser { return io.NopCloser(strings.NewReader(text)) }), testMax,
		).
			RoundTrip(httptest.NewRequest("GET", "/", nil))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		if err != nil || string(got) != text {
			t.Errorf("%d bytes, %v; want %d", len(got), err, size)
		}
		if err := resp.Body.Close(); err != nil || b.used != 0 || len(b.large) != 0 {
			t.Errorf("%d bytes are held by %d replies after the end (%v); want none", b.used, len(b.large), err)
		}
	}
}

// stuck is a body that stops after some bytes until it is closed.
type stuck struct {
	zeros
	closed chan struct{}
}

func (s *stuck) Read(p []byte) (int, error) {
	if n, err := s.zeros.Read(p); err == nil {
		return n, nil
	}
	<-s.closed
	return 0, errors.New("closed")
}

func (s *stuck) Close() error { close(s.closed); return nil }

// Large replies that hang never delay small ones. They delay large ones until their calls time out.
func TestRepliesThatHang(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := new(Replies)
		hanging := b.Over(
			bodyOf(200, func() io.ReadCloser { return &stuck{zeros{testMax - 100}, make(chan struct{})} }),
			testMax,
		)
		for range 5 {
			ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
			defer cancel()
			resp, err := hanging.RoundTrip(httptest.NewRequestWithContext(ctx, "GET", "/", nil))
			if err != nil {
				t.Fatal(err)
			}
			context.AfterFunc(ctx, func() { _ = resp.Body.Close() }) // as the transport does
			go func() { _, _ = io.ReadAll(resp.Body) }()
		}
		synctest.Wait()
		read := func(size int) (time.Duration, error) {
			began := time.Now()
			resp, err := b.Over(
				bodyOf(200, func() io.ReadCloser { return io.NopCloser(&zeros{int64(size)}) }), testMax,
			).
				RoundTrip(httptest.NewRequestWithContext(t.Context(), "GET", "/", nil))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			_, err = io.ReadAll(resp.Body)
			return time.Since(began), err
		}
		if took, err := read(freeReply / 2); took != 0 || err != nil {
			t.Errorf("a small reply took %s, %v; want no wait", took, err)
		}
		if took, err := read(testMax); took > 15*time.Second || err != nil {
			t.Errorf("a large reply took %s, %v; want it once the others' time is over", took, err)
		}
		if b.used != 0 || len(b.large) != 0 {
			t.Errorf("%d bytes are still held by %d replies", b.used, len(b.large))
		}
	})
}
