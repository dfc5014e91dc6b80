package demo

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	maxLines = 100
	maxBody  = 8 << 10 // bytes of a body that are kept
	maxPath  = 72      // bytes of a path with a query that are shown
)

// line is one request between two parts, in plain words. To is "" for an event inside one part.
type line struct {
	ID, sequence    int64 // sequence grows with every change of any line
	At              time.Time
	From, To, Text  string
	Method, Path    string
	Status          int // 0: not a request, or no response
	Waiting         bool
	Took            time.Duration
	Quiet           bool   // dimmed on the page
	Asked, Answered string // important headers and the body, readable, without secrets
}

// Clock returns the local time of the line.
func (l line) Clock() string { return clock(l.At) }

// Short returns the path without the common prefix, and without the end of long ids and queries.
func (l line) Short() string {
	path := longID.ReplaceAllString(strings.Replace(l.Path, "/v1/projects/"+project, "", 1), "${1}${2}…")
	if len(path) > maxPath && strings.Contains(path[:maxPath], "?") {
		path = path[:maxPath] + "…"
	}
	return path
}

// Outcome returns the result of the request for the page.
func (l line) Outcome() string {
	switch {
	case l.Method == "":
		return ""
	case l.Waiting:
		return "…"
	case l.Status == 0:
		return "no reply"
	}
	return strconv.Itoa(l.Status)
}

// Reason returns the text of the status.
func (l line) Reason() string { return http.StatusText(l.Status) }

// Failed reports whether the request failed or got no response.
func (l line) Failed() bool {
	return l.Method != "" && !l.Waiting && (l.Status == 0 || l.Status >= 400)
}

// Duration returns the duration of the request for the page.
func (l line) Duration() string {
	if l.Method == "" || l.Waiting {
		return ""
	}
	switch {
	case l.Took < time.Millisecond:
		return "< 1 ms"
	case l.Took < time.Second:
		return fmt.Sprintf("%d ms", l.Took.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", l.Took.Seconds())
}

var longID = regexp.MustCompile(`\b(cs_test_|plink_|evt_|price_|pi_|re_)(\w{4})\w{6,}`)

// wire keeps the latest lines. It is safe for concurrent use.
type wire struct {
	changed func(line) // called in order, under the lock

	mu       sync.Mutex
	lines    []line // oldest first
	sequence int64
	added    int64
}

// add adds a line and returns its id.
func (w *wire) add(l line) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.added++
	l.ID, l.At = w.added, time.Now()
	if len(w.lines) == maxLines { // drop the oldest quiet line, unless it is recent
		dull := slices.IndexFunc(w.lines[:maxLines*3/4], func(l line) bool { return l.Quiet })
		w.lines = slices.Delete(w.lines, max(dull, 0), max(dull, 0)+1)
	}
	w.lines = append(w.lines, l)
	w.publish(&w.lines[len(w.lines)-1])
	return l.ID
}

// change updates a line if it is still kept.
func (w *wire) change(id int64, how func(*line)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.lines {
		if w.lines[i].ID == id {
			how(&w.lines[i])
			w.publish(&w.lines[i])
		}
	}
}

// publish reports a new or changed line. The caller holds the lock.
func (w *wire) publish(l *line) {
	w.sequence++
	l.sequence = w.sequence
	w.changed(*l)
}

// after returns the lines that changed after a sequence number, oldest first, and the current
// sequence number.
func (w *wire) after(sequence int64) ([]line, int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var changed []line
	for _, l := range w.lines {
		if l.sequence > sequence {
			changed = append(changed, l)
		}
	}
	return changed, w.sequence
}

// tap returns a handler that shows every request to next on the page. Bodies pass through
// unbuffered.
func (d *Demo) tap(known *http.ServeMux, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		meaning := sentenceFor(known, r)
		asked, answered := &excerpt{}, &excerpt{}
		began, address := time.Now(), r.URL.RequestURI()
		id := d.wire.add(line{
			From:    meaning.from,
			To:      meaning.to,
			Text:    d.words(meaning.text, address, ""),
			Method:  r.Method,
			Path:    withoutSecrets(address),
			Quiet:   meaning.quiet,
			Waiting: true,
		})
		r = r.WithContext(r.Context()) // a copy, to set another body
		if r.Body != nil && r.Body != http.NoBody {
			r.Body = &readBody{r.Body, asked}
		}
		seen := &answer{ResponseWriter: w, body: answered}
		whole := false
		defer func() { // also if the handler panics to cut the connection
			status := 0
			if whole {
				status = cmp.Or(seen.status, http.StatusOK)
			}
			if meaning.scan && whole && status < http.StatusBadRequest {
				d.scan(address)
			}
			d.wire.change(id, func(l *line) {
				l.Waiting, l.Status, l.Took = false, status, time.Since(began)
				l.Text = d.words(meaning.text, address, asked.text()+answered.text())
				l.Asked = readable(r.Header, asked.text(), "Authorization", "Stripe-Signature", "Idempotency-Key")
				l.Answered = readable(w.Header(), answered.text(), "Location", "Retry-After", "Idempotent-Replayed")
			})
			d.redraw()
		}()
		next.ServeHTTP(seen, r)
		whole = true
	})
}

// excerpt is the beginning of a body. It has a lock because a handler may read on after the request
// ended.
type excerpt struct {
	mu   sync.Mutex
	kept []byte
}

func (e *excerpt) add(p []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.kept = append(e.kept, p[:min(len(p), maxBody-len(e.kept))]...)
}

func (e *excerpt) text() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return string(e.kept)
}

type readBody struct {
	io.ReadCloser
	kept *excerpt
}

func (b *readBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.kept.add(p[:n])
	return n, err
}

// answer records the status and the beginning of the body. Flush and http.ResponseController reach
// the real writer, so responses still stream.
type answer struct {
	http.ResponseWriter
	status int
	body   *excerpt
}

func (a *answer) WriteHeader(status int) {
	if a.status == 0 && status >= http.StatusOK {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(p []byte) (int, error) {
	a.status = cmp.Or(a.status, http.StatusOK)
	a.body.add(p)
	return a.ResponseWriter.Write(p)
}

func (a *answer) Flush() { _ = http.NewResponseController(a.ResponseWriter).Flush() }

func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// secret matches text that must not be shown: values in JSON and forms, tokens in paths, and card
// numbers.
var secret = regexp.MustCompile(`("(?:access_token|refresh_token|client_secret|secret|token)"\s*:\s*")[^"]*|` +
	`((?:^|[?&])(?:client_secret|card|token|access_token)=)[^&\s]*|(/(?:session|access)/)[\w-]+`)

func withoutSecrets(text string) string {
	return secret.ReplaceAllString(text, "${1}${2}${3}[redacted]")
}

// readable renders the named headers and the body. It renders only JSON, forms and plain text.
func readable(h http.Header, body string, headers ...string) string {
	var text strings.Builder
	for _, name := range headers {
		value := withoutSecrets(h.Get(name))
		if value == "" {
			continue
		}
		if name == "Authorization" || name == "Stripe-Signature" {
			value = "[redacted]"
		}
		fmt.Fprintf(&text, "%s: %s\n", name, value)
	}
	if text.Len() > 0 {
		text.WriteString("\n")
	}
	body = withoutSecrets(body)
	switch kind := h.Get("Content-Type"); {
	case strings.HasPrefix(kind, "application/json"):
		var pretty bytes.Buffer
		if json.Indent(&pretty, []byte(body), "", "  ") == nil {
			body = pretty.String()
		}
		text.WriteString(body)
	case strings.HasPrefix(kind, "application/x-www-form-urlencoded"):
		for field := range strings.SplitSeq(body, "&") {
			plain, err := url.QueryUnescape(strings.Replace(field, "=", " = ", 1))
			if err != nil {
				plain = field // truncated
			}
			text.WriteString(plain + "\n")
		}
	case strings.HasPrefix(kind, "text/plain"):
		text.WriteString(body)
	}
	return strings.TrimSpace(text.String())
}
