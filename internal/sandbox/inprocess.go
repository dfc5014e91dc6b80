package sandbox

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strconv"
)

// InProcess returns a transport that calls a handler without a socket, as testing/synctest needs
// it. It returns io.ErrUnexpectedEOF if the handler panics with http.ErrAbortHandler. If the
// request's context ends first, it returns the context's error, and the handler's context ends too.
// It buffers the whole response, so it does not suit a handler that streams.
func InProcess(h http.Handler) http.RoundTripper { return inProcess{h} }

type inProcess struct{ handler http.Handler }

// RoundTrip implements http.RoundTripper.
func (t inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		var err error
		body, err = io.ReadAll(r.Body)
		_ = r.Body.Close()
		if err != nil {
			return nil, err
		}
	}
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	incoming := r.Clone(ctx)
	incoming.Body = io.NopCloser(bytes.NewReader(body))
	incoming.ContentLength = int64(len(body))
	incoming.RequestURI = r.URL.RequestURI()
	incoming.RemoteAddr = "127.0.0.1:1"
	if incoming.Host == "" {
		incoming.Host = r.URL.Host
	}
	done := make(chan *buffer, 1)
	go func() {
		answer := &buffer{header: http.Header{}}
		defer func() {
			switch problem := recover(); problem {
			case nil:
				done <- answer
			case http.ErrAbortHandler:
				done <- nil
			default:
				panic(problem)
			}
		}()
		t.handler.ServeHTTP(answer, incoming)
	}()
	select {
	case answer := <-done:
		if answer == nil {
			return nil, io.ErrUnexpectedEOF
		}
		return answer.response(r), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// buffer is a ResponseWriter that keeps the response until the handler returns.
type buffer struct {
	header http.Header
	sent   http.Header // headers at the time of WriteHeader
	status int
	body   bytes.Buffer
}

func (b *buffer) Header() http.Header { return b.header }

func (b *buffer) WriteHeader(status int) {
	if b.status == 0 {
		b.status, b.sent = status, b.header.Clone()
	}
}

func (b *buffer) Write(p []byte) (int, error) {
	b.WriteHeader(http.StatusOK)
	return b.body.Write(p)
}

func (b *buffer) response(r *http.Request) *http.Response {
	b.WriteHeader(http.StatusOK)
	return &http.Response{
		Status:        strconv.Itoa(b.status) + " " + http.StatusText(b.status),
		StatusCode:    b.status,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        b.sent,
		Body:          io.NopCloser(bytes.NewReader(b.body.Bytes())),
		ContentLength: int64(b.body.Len()),
		Request:       r,
	}
}
