package sandbox

import (
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"sync"
)

// NtfyMessage is a message in the form in which ntfy publishes JSON.
type NtfyMessage struct {
	Topic    string   `json:"topic"`
	Title    string   `json:"title"`
	Message  string   `json:"message"`
	Priority int      `json:"priority"`
	Tags     []string `json:"tags"`
	Click    string   `json:"click"`
}

// Ntfy simulates an ntfy server. It is safe for concurrent use.
type Ntfy struct {
	report Reporter

	mu       sync.Mutex
	messages []NtfyMessage
	failing  int // the status of each answer; 0: it works
	tries    int
}

// NewNtfy returns a server that works. It reports malformed messages, also with a status of failure.
func NewNtfy(report Reporter) *Ntfy { return &Ntfy{report: report} }

// Fail makes the server answer with a status until Fail(0).
func (n *Ntfy) Fail(status int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.failing = status
}

// Messages returns the accepted messages, oldest first.
func (n *Ntfy) Messages() []NtfyMessage {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.messages)
}

// Tries returns how many requests there were, also those that failed.
func (n *Ntfy) Tries() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.tries
}

var ntfyTopic = regexp.MustCompile(`^[-_A-Za-z0-9]{1,64}$`)

// ServeHTTP implements http.Handler.
func (n *Ntfy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tries++
	var m NtfyMessage
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, 16<<10))
	d.DisallowUnknownFields()
	err := d.Decode(&m)
	switch {
	case r.Method != http.MethodPost || r.URL.Path != "/" || r.URL.RawQuery != "":
		n.report.Errorf("ntfy: %s %s; want POST /", r.Method, r.URL)
	case err != nil:
		n.report.Errorf("ntfy: %v", err)
	case !ntfyTopic.MatchString(m.Topic) || m.Message == "" || len(m.Message) > 4096 || len(m.Title) > 250 ||
		m.Priority < 1 || m.Priority > 5:
		n.report.Errorf("ntfy: message %+v is not allowed", m)
	case n.failing == 0:
		n.messages = append(n.messages, m)
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"id":"sPs71M8A2T","event":"message"}`))
		return
	}
	w.WriteHeader(max(n.failing, http.StatusBadRequest))
}
