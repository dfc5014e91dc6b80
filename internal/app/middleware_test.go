package app_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"notepay/internal/app"
)

func TestWithHeadersRecoversFromPanics(t *testing.T) {
	t.Parallel()
	var logs bytes.Buffer
	s := app.WithLog(slog.New(slog.NewTextHandler(&logs, nil)))
	w := httptest.NewRecorder()
	s.WithHeaders(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("secret of the inside") })).
		ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "inside") {
		t.Errorf("%d %s; want 500 and no word of the panic", w.Code, w.Body)
	}
	if w.Header().Get("X-Frame-Options") != "DENY" {
		t.Errorf("headers %v; want the security headers here, too", w.Header())
	}
	if !strings.Contains(logs.String(), "level=ERROR msg=panic") ||
		!strings.Contains(logs.String(), "secret of the inside") ||
		!strings.Contains(logs.String(), "middleware_test.go") {
		t.Errorf("log %s; want the panic with its stack", &logs)
	}
	defer func() {
		if p := recover(); p != http.ErrAbortHandler {
			t.Errorf("panic %v; want http.ErrAbortHandler to reach the server", p)
		}
	}()
	s.WithHeaders(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })).
		ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
}
