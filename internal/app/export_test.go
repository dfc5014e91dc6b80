package app

import (
	"log/slog"
	"net/http"
)

// Handle exports handle.
func (a *App) Handle(h func(http.ResponseWriter, *http.Request) error) http.Handler {
	return a.handle(h)
}

// WithHeaders exports withHeaders.
func (a *App) WithHeaders(next http.Handler) http.Handler { return a.withHeaders(next) }

// ExpectSessions shows the metrics of sessions, as in an App that creates them.
func (a *App) ExpectSessions() { a.metrics.ExpectSessions() }

// WithLog returns an App that can only log.
func WithLog(log *slog.Logger) *App { return &App{log: log} }

// Patterns returns the patterns of all routes.
func (a *App) Patterns() []string {
	t := &routeTable{ServeMux: http.NewServeMux()}
	a.register(t)
	return t.patterns
}
