package bodies

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

const mebibyte = 1 << 20

// sender is a request whose body comes through a pipe.
type sender struct {
	*httptest.ResponseRecorder
	far, near net.Conn
}

func newSender(t *testing.T) sender {
	far, near := net.Pipe()
	t.Cleanup(func() { _ = far.Close() })
	return sender{httptest.NewRecorder(), far, near}
}

func (s sender) SetReadDeadline(at time.Time) error { return s.near.SetReadDeadline(at) }

// reads reads the body, and closes the pipe as a server would.
func (s sender) reads(b *Budget) ([]byte, error) {
	r := httptest.NewRequest("POST", "/", s.near)
	text, err := b.Read(s, r)
	_ = s.near.Close()
	return text, err
}

// hangs sends size bytes, and then nothing more.
func hangs(t *testing.T, b *Budget, size int) (ended <-chan error) {
	s, result := newSender(t), make(chan error, 1)
	go func() {
		_, err := s.reads(b)
		result <- err
	}()
	_, _ = s.far.Write(bytes.Repeat([]byte("x"), size)) // fails for an evicted body
	return result
}

func (b *Budget) idle(t *testing.T) {
	t.Helper()
	if b.taken != 0 || b.coming != 0 || b.waiting != 0 || len(b.open) != 0 || len(b.spare) > maxSpareChunks {
		t.Errorf("%d chunks taken, %d coming, %d waiting, %d open, %d spare; want none left",
			b.taken, b.coming, b.waiting, len(b.open), len(b.spare))
	}
}

func TestReadReturnsWhatWasSent(t *testing.T) {
	t.Parallel()
	b := New(mebibyte)
	for _, size := range []int{
		0, 1, 4 << 10, chunkSize - 1, chunkSize, chunkSize + 1, 3 * chunkSize, mebibyte - 1, mebibyte,
	} {
		want := make([]byte, size)
		for i := range want {
			want[i] = byte(i * 7 >> 3)
		}
		for name, from := range map[string]io.Reader{
			"at once":       bytes.NewReader(want),
			"in odd pieces": iotest.DataErrReader(iotest.HalfReader(bytes.NewReader(want))),
		} {
			got, err := b.Read(httptest.NewRecorder(), httptest.NewRequest("POST", "/", from))
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes %s: got %d, %v", size, name, len(got), err)
			}
		}
	}
	post := func(body io.Reader) *http.Request { return httptest.NewRequest("POST", "/", body) }
	whole := strings.NewReader(strings.Repeat("x", mebibyte))
	for name, r := range map[string]*http.Request{
		"announced": post(strings.NewReader(strings.Repeat("x", mebibyte+1))),
		"in pieces": post(io.MultiReader(whole, strings.NewReader("x"))),
		"bound elsewhere": func() *http.Request {
			r := post(io.MultiReader(strings.NewReader("xxx")))
			r.Body = http.MaxBytesReader(nil, r.Body, 2)
			return r
		}(),
	} {
		if _, err := b.Read(httptest.NewRecorder(), r); !errors.Is(err, ErrTooLarge) {
			t.Errorf("too large, %s: %v; want ErrTooLarge", name, err)
		}
	}
	_, err := b.Read(httptest.NewRecorder(), post(iotest.ErrReader(io.ErrUnexpectedEOF)))
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut off: %v; want the cause", err)
	}
	b.idle(t)
}

func TestReadEvictsHangingSenders(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int{"with much": mebibyte - 1, "with some": 5 * chunkSize, "with little": 1000} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := New(mebibyte)
				var strangers []<-chan error
				for range 1000 {
					strangers = append(strangers, hangs(t, b, size))
					time.Sleep(time.Millisecond)
				}
				synctest.Wait()
				if b.taken > maxChunks {
					t.Errorf("%d chunks taken; want at most %d", b.taken, maxChunks)
				}
				for _, honest := range []int{1, 5000, 50_000, 500_000} {
					s := newSender(t)
					go func() {
						_, _ = s.far.Write(bytes.Repeat([]byte("x"), honest))
						_ = s.far.Close()
					}()
					began := time.Now()
					if text, err := s.reads(b); err != nil || len(text) != honest || time.Since(began) > time.Second {
						t.Errorf("an honest body of %d bytes: %d after %s, %v",
							honest, len(text), time.Since(began), err)
					}
				}
				time.Sleep(timeout)
				for _, ended := range strangers {
					if err := <-ended; !errors.Is(err, ErrBusy) && !errors.Is(err, ErrSlow) {
						t.Errorf("a stranger ended with %v", err)
					}
				}
				b.idle(t)
			})
		})
	}
}

// A sender of single bytes does not keep its share beyond the timeout.
func TestReadOfASlowSender(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, s := New(mebibyte), newSender(t)
		go func() {
			for {
				if _, err := s.far.Write([]byte("x")); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}()
		began := time.Now()
		if _, err := s.reads(b); !errors.Is(err, ErrSlow) || time.Since(began) != timeout {
			t.Errorf("%v after %s; want ErrSlow after %s", err, time.Since(began), timeout)
		}
		time.Sleep(2 * time.Second) // until the sender notices
		b.idle(t)
	})
}

// When many senders together exceed the budget, some are evicted, and none waits forever.
func TestReadUnderPressure(t *testing.T) {
	t.Parallel()
	b := New(mebibyte)
	var senders sync.WaitGroup
	for range 200 {
		senders.Go(func() {
			s := newSender(t)
			go func() {
				_, _ = s.far.Write(bytes.Repeat([]byte("x"), mebibyte-100))
				_ = s.far.Close()
			}()
			if text, err := s.reads(b); err != nil && !errors.Is(err, ErrBusy) ||
				err == nil && len(text) != mebibyte-100 {
				t.Errorf("%d bytes, %v", len(text), err)
			}
		})
	}
	senders.Wait()
	b.idle(t)
}
