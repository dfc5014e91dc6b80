package notify

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"mime/quotedprintable"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"notepay/internal/sandbox"
)

// message returns what the tests send.
func message() Message {
	return Message{
		ID:     "msg_1",
		Kind:   "payments",
		State:  Open,
		Title:  "Wäscherei: 2 payments need attention",
		Text:   "Washer 3, 3.50 EUR: <late>\nWasher 4, 3.50 EUR: lost",
		Link:   "https://pay.example.com/operator",
		Count:  2,
		Urgent: true,
		At:     time.Unix(1_700_000_000, 0),
	}
}

// one parses the URL of one target.
func one(t *testing.T, urls string, secrets ...[]byte) *Target {
	t.Helper()
	targets, wrong := Parse(urls, secrets)
	if len(wrong) > 0 || len(targets) != 1 {
		t.Fatalf("%s: %v, %d targets; want one", urls, wrong, len(targets))
	}
	return targets[0]
}

func TestParse(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		want int
		urls string
	}{
		{0, ""},
		{1, "ntfy://ntfy.sh/laundry"},
		{1, "ntfy:///laundry"},
		{1, "ntfy://ntfy.sh/laundry, "},
		{1, "ntfy://a:b@ntfy.sh/laundry-4"},
		{1, "ntfy://:tk_abc@ntfy.sh/laundry"},
		{1, "ntfy://10.0.0.4/laundry?scheme=http&priority=4&tags=rotating_light"},
		{2, "telegram://110201543:AAHdqTcv@telegram?chats=@channel,-1001:7&preview=no"},
		{1, "slack://hook:T00000000-B00000000-abcdefghijklmnopqrstuvwx@webhook"},
		{1, "slack://xoxb:123456789012-4mt0t4l1YL3g1T@C001CH4NN3L"},
		{1, "pushover://shoutrrr:" + strings.Repeat("a", 30) + "@" + strings.Repeat("B", 30) + "/?devices=a,b"},
		{1, "smtp://name:pass%40word@mail.example:587/?from=a@b.example&to=b@b.example,c@b.example"},
		{1, "generic+https://example.com/hook?token=1&@Authorization=Bearer+x"},
		{1, "generic://example.com/hook?template=json"},
		{1, "generic://localhost:8080/hook?disabletls=yes"},
		{3, "ntfy://ntfy.sh/a,ntfy://ntfy.sh/b ntfy://ntfy.sh/c"},
	} {
		urls, want := row.urls, row.want
		targets, wrong := Parse(urls, nil)
		if len(targets) != want || len(wrong) > 0 {
			t.Errorf("%s: %d targets, %q; want %d", urls, len(targets), wrong, want)
		}
	}
}

// A mistake is named without any part of the URL, which may be a secret.
func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ want, urls string }{
		{"number 1: is no URL", "hunter2secret"},
		{"has to begin with", "https://hunter2secret.example.com"},
		{"number 2: ntfy: the topic", "ntfy://ntfy.sh/ok ntfy://ntfy.sh/hunter2secret/more"},
		{"ntfy: the topic is missing", "ntfy://ntfy.sh/"},
		{"has to use TLS", "ntfy://ntfy.sh/hunter2secret?scheme=http"},
		{"priority has to be", "ntfy://ntfy.sh/hunter2secret?priority=hunter2secret"},
		{"ntfy: an option is not supported", "ntfy://ntfy.sh/hunter2secret?hunter2secret=1"},
		{"the option delay is not supported", "ntfy://ntfy.sh/hunter2secret?delay=1h"},
		{"write %23", "ntfy://ntfy.sh/hunter2secret#hunter2secret"},
		{"is no URL", "ntfy://hunter2secret:%zz@ntfy.sh/topic"},
		{"has to be written telegram://TOKEN@telegram", "telegram://hunter2secret@telegram?chats=1"},
		{"chats is missing", "telegram://1:hunter2secret@telegram"},
		{"has to be a number", "telegram://1:hunter2secret@telegram?chats=1:x"},
		{"preview has to be yes or no", "telegram://1:hunter2secret@telegram?chats=1&preview=may"},
		{"has to be written slack://", "slack://hook:hunter2secret@webhook"},
		{"has to be written pushover://", "pushover://shoutrrr:hunter2secret@user"},
		{"from is missing", "smtp://a:hunter2secret@mail.example.com"},
		{"to is missing", "smtp://mail.example.com?from=a@b.example"},
		{"address 1 after to", "smtp://mail.example.com?from=a@b.example&to=hunter2secret"},
		{"has to use TLS", "smtp://a:hunter2secret@mail.example?from=a@b.example&to=a@b.example&starttls=no"},
		{"auth has to be", "smtp://a:hunter2secret@mail.example?from=a@b.example&to=a@b.example&auth=CramMD5"},
		{"encryption has to be", "smtp://mail.example.com?from=a@b.example&to=a@b.example&encryption=hunter2secret"},
		{"has to use TLS", "generic+http://example.com/hunter2secret"},
		{"fixed form", "generic+https://example.com/?method=PUT"},
		{"a header cannot be set", "generic+https://example.com/?@webhook-id=hunter2secret"},
		{"at most 20", strings.Repeat("ntfy://ntfy.sh/a ", MaxTargets+1)},
	} {
		urls, want := row.urls, row.want
		_, wrong := Parse(urls, nil)
		text := strings.Join(wrong, "; ")
		if !strings.Contains(text, want) {
			t.Errorf("%s: %q; want %q", urls, text, want)
		}
		if strings.Contains(text, "hunter2") {
			t.Errorf("%s: %q tells a secret", urls, text)
		}
	}
}

// reply is a transport that keeps one request and answers it.
type reply struct {
	status int
	body   string
	err    error

	asked *http.Request
	sent  string
}

func (r *reply) RoundTrip(q *http.Request) (*http.Response, error) {
	text, err := io.ReadAll(q.Body)
	r.asked, r.sent = q, string(text)
	if err = errors.Join(err, r.err); err != nil {
		return nil, err
	}
	w := httptest.NewRecorder()
	w.WriteHeader(r.status)
	_, _ = w.WriteString(r.body)
	return w.Result(), nil
}

// A service rejects a message that is too long, and then the alert would never arrive.
func TestLongMessagesAreCut(t *testing.T) {
	t.Parallel()
	long := message()
	long.Text = strings.Repeat("Wäscherei 洗濯機 🧺\n", 1000)
	for urls, limit := range map[string]int{
		"ntfy://ntfy.sh/laundry": 4096,
		"pushover://shoutrrr:abcdefghijklmnopqrstuvwxyz0123@ABCDEFGHIJKLMNOPQRSTUVWXYZ0123": 4 * 1024,
	} {
		r := &reply{status: http.StatusOK}
		if err := NewSender(r).Send(t.Context(), one(t, urls), long); err != nil {
			t.Errorf("%s: %v", urls, err)
		}
		var body struct{ Message string }
		if json.Unmarshal([]byte(r.sent), &body) != nil {
			form, _ := url.ParseQuery(r.sent)
			body.Message = form.Get("message")
		}
		if n := len(body.Message); n > limit || n < limit/3 || strings.Contains(body.Message, "\ufffd") ||
			!strings.HasSuffix(body.Message, "…") {
			t.Errorf("%s: %d bytes, end %q; want at most %d, in whole characters", urls, n,
				body.Message[max(0, n-10):], limit)
		}
	}
}

func TestSend(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ urls, address, body, header, value, answer string }{
		{
			urls:    "ntfy://ann:pw@ntfy.example.com/laundry?tags=warning",
			address: "https://ntfy.example.com/",
			body: `{"click":"https://pay.example.com/operator","message":"Washer 3, 3.50 EUR: <late>\n` +
				`Washer 4, 3.50 EUR: lost","priority":4,"tags":["warning"],` +
				`"title":"Wäscherei: 2 payments need attention","topic":"laundry"}`,
			header: "Authorization", value: "Basic " + base64.StdEncoding.EncodeToString([]byte("ann:pw")),
		},
		{
			urls:    "telegram://12:tok@telegram?chats=-5:7&notification=no&preview=no",
			address: "https://api.telegram.org/bot12:tok/sendMessage",
			body: `{"chat_id":"-5","disable_notification":true,"link_preview_options":{"is_disabled":true},` +
				`"message_thread_id":7,"text":"Wäscherei: 2 payments need attention\n\nWasher 3, 3.50 EUR: <late>\n` +
				`Washer 4, 3.50 EUR: lost\n\nhttps://pay.example.com/operator"}`,
			answer: `{"ok":true}`,
		},
		{
			urls:    "slack://hook:T00000000-B00000000-abcdefghijklmnopqrstuvwx@webhook?botname=till",
			address: "https://hooks.slack.com/services/T00000000/B00000000/abcdefghijklmnopqrstuvwx",
			body: `{"text":"*Wäscherei: 2 payments need attention*\nWasher 3, 3.50 EUR: &lt;late&gt;\n` +
				`Washer 4, 3.50 EUR: lost\n\nhttps://pay.example.com/operator","username":"till"}`,
		},
		{
			urls:    "slack://xoxb:1234567890-abc@C01",
			address: "https://slack.com/api/chat.postMessage",
			body: `{"channel":"C01",` +
				`"text":"*Wäscherei: 2 payments need attention*\nWasher 3, 3.50 EUR: &lt;late&gt;\n` +
				`Washer 4, 3.50 EUR: lost\n\nhttps://pay.example.com/operator"}`,
			header: "Authorization", value: "Bearer xoxb-1234567890-abc",
			answer: `{"ok":true}`,
		},
		{
			urls:    "pushover://shoutrrr:abcdefghijklmnopqrstuvwxyz0123@ABCDEFGHIJKLMNOPQRSTUVWXYZ0123?devices=a,b",
			address: "https://api.pushover.net/1/messages.json",
			body: url.Values{
				"token": {"abcdefghijklmnopqrstuvwxyz0123"}, "user": {"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123"},
				"title": {message().Title}, "message": {message().Text}, "priority": {"1"}, "device": {"a,b"},
				"url": {message().Link},
			}.Encode(),
		},
		{
			urls:    "generic+https://example.com/hook?a=b&@X-Key=k",
			address: "https://example.com/hook?a=b",
			body: `{"type":"alert.open","timestamp":"2023-11-14T22:13:20Z","data":{"kind":"payments",` +
				`"title":"Wäscherei: 2 payments need attention","text":"Washer 3, 3.50 EUR: <late>\n` +
				`Washer 4, 3.50 EUR: lost","link":"https://pay.example.com/operator","count":2,"urgent":true}}`,
			header: "X-Key", value: "k",
		},
	} {
		r := &reply{status: http.StatusOK, body: row.answer}
		if err := NewSender(r).Send(t.Context(), one(t, row.urls), message()); err != nil {
			t.Errorf("%s: %v", row.urls, err)
			continue
		}
		if got := r.asked.URL.String(); got != row.address || r.asked.Method != http.MethodPost {
			t.Errorf("%s: %s %s; want POST %s", row.urls, r.asked.Method, got, row.address)
		}
		if r.sent != row.body {
			t.Errorf("%s: body\n%s; want\n%s", row.urls, r.sent, row.body)
		}
		if row.header != "" && r.asked.Header.Get(row.header) != row.value {
			t.Errorf("%s: %s is %q; want %q", row.urls, row.header, r.asked.Header.Get(row.header), row.value)
		}
	}
}

// Errors hold neither the URL nor what a server repeats of it.
func TestSendErrorsHoldNoSecret(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		urls string
		r    *reply
	}{
		{
			"telegram://12:hunter2secret@telegram?chats=1",
			&reply{err: errors.New("no such host")},
		},
		{
			"telegram://13:hunter2secret@telegram?chats=1",
			&reply{status: 404, body: "bot13:hunter2secret not found"},
		},
		{
			"telegram://14:hunter2secret@telegram?chats=1",
			&reply{status: 200, body: `{"description":"no hunter2secret"}`},
		},
		{
			"ntfy://a:hunter2secret@ntfy.sh/topic",
			&reply{status: 403, body: "hunter2secret"},
		},
		{
			"ntfy://ntfy.sh/hunter2secret",
			&reply{status: 302, body: "go to /hunter2secret"},
		},
		{
			"generic+https://example.com/hunter2secret?k=hunter2more",
			&reply{status: 500, body: "/hunter2secret?k=hunter2more"},
		},
		{
			"generic+https://example.com/?@X=hunter2%2Fsecret",
			&reply{status: 500, body: "hunter2/secret hunter2%2Fsecret"},
		},
	} {
		urls, r := row.urls, row.r
		err := NewSender(r).Send(t.Context(), one(t, urls), message())
		if err == nil || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "://") {
			t.Errorf("%s: %v; want an error without secrets", urls, err)
		}
	}
}

// The IDs of targets differ, stay, and do not depend on passwords.
func TestTargetIDs(t *testing.T) {
	t.Parallel()
	ids := map[string]bool{}
	targets, _ := Parse("ntfy://ntfy.sh/a ntfy://ntfy.sh/b telegram://12:tok@telegram?chats=1,2", nil)
	for _, target := range targets {
		ids[target.ID] = true
	}
	if len(ids) != 4 {
		t.Errorf("%d IDs; want 4: %v", len(ids), ids)
	}
	if x, y := one(t, "ntfy://a:one@ntfy.sh/c"), one(t, "ntfy://a:two@ntfy.sh/c"); x.ID != y.ID {
		t.Errorf("%s and %s; want the same ID with another password", x.ID, y.ID)
	}
}

// The example is that of the Standard Webhooks specification's libraries.
func TestSign(t *testing.T) {
	t.Parallel()
	secrets, err := Secrets("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw, whsec_" +
		base64.StdEncoding.EncodeToString(make([]byte, 32)))
	if err != nil || len(secrets) != 2 {
		t.Fatal(err)
	}
	got := Sign(secrets, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	first, second, _ := strings.Cut(got, " ")
	if first != "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=" || !strings.HasPrefix(second, "v1,") {
		t.Errorf("%s; want the signature of the specification and one more", got)
	}
	r := &reply{status: http.StatusNoContent}
	m := message()
	if err := NewSender(r).Send(t.Context(), one(t, "generic+https://example.com/", secrets[0]), m); err != nil {
		t.Fatal(err)
	}
	want := Sign(secrets[:1], "msg_1", m.At, []byte(r.sent))
	if h := r.asked.Header; h.Get("webhook-id") != "msg_1" || h.Get("webhook-timestamp") != "1700000000" ||
		h.Get("webhook-signature") != want {
		t.Errorf("%v; want id, timestamp and %s", h, want)
	}
	for _, bad := range []string{"secret", "whsec_", "whsec_c2hvcnQ=", "whsec_!"} {
		if _, err := Secrets(bad); err == nil {
			t.Errorf("%s: %v; want an error", bad, err)
		}
	}
}

// mailServer starts an SMTP server.
func mailServer(t *testing.T) *sandbox.MailServer {
	t.Helper()
	s, err := sandbox.NewMailServer(t)
	if err != nil {
		t.Fatal(err)
	}
	s.User, s.Password = "ann", "hunter2secret"
	go s.Serve()
	t.Cleanup(s.Close)
	return s
}

func TestSendMail(t *testing.T) {
	t.Parallel()
	s := mailServer(t)
	to := one(t, "smtp://ann:hunter2secret@"+s.Addr()+"/?from=till@example.com&to=ann@example.com,bob@example.com")
	m := message()
	m.Text += "\n." + strings.Repeat("ü", 600) + "\n"
	if err := NewSender(nil).Send(t.Context(), to, m); err != nil {
		t.Fatal(err)
	}
	mails := s.Mails()
	if len(mails) != 1 || mails[0].From != "till@example.com" ||
		!slices.Equal(mails[0].To, []string{"ann@example.com", "bob@example.com"}) {
		t.Fatalf("%+v; want one mail to both", mails)
	}
	got, err := mail.ReadMessage(strings.NewReader(mails[0].Data))
	if err != nil {
		t.Fatal(err)
	}
	subject, err := new(mime.WordDecoder).DecodeHeader(got.Header.Get("Subject"))
	text, bodyErr := io.ReadAll(quotedprintable.NewReader(got.Body))
	if err = errors.Join(err, bodyErr); err != nil || subject != m.Title {
		t.Errorf("%v, subject %q; want %q", err, subject, m.Title)
	}
	if want := m.Text + "\n\n" + m.Link + "\n"; string(text) != want {
		t.Errorf("text %q; want %q", text, want)
	}
}

// The server repeats the sign-in, refuses a mailbox, or does not answer.
func TestSendMailFails(t *testing.T) {
	t.Parallel()
	s := mailServer(t)
	const query = "/?from=till@example.com&to=ann@example.com,nobody@example.com"
	for urls, want := range map[string]string{
		"smtp://ann:hunter2wrong@" + s.Addr() + query:                           "535",
		"smtp://ann:hunter2secret@" + s.Addr() + query:                          "no such mailbox",
		"smtp://ann:hunter2secret@" + s.Addr() + query + "&requirestarttls=yes": "no STARTTLS",
	} {
		err := NewSender(nil).Send(t.Context(), one(t, urls), message())
		coded := base64.StdEncoding.EncodeToString([]byte("\x00ann\x00hunter2wrong"))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") ||
			strings.Contains(err.Error(), coded) {
			t.Errorf("%v; want %q without secrets", err, want)
		}
	}
	if mails := s.Mails(); len(mails) != 0 {
		t.Errorf("%d mails; want none", len(mails))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := NewSender(nil).Send(ctx, one(t, "smtp://"+s.Addr()+query), message()); err == nil {
		t.Error("a canceled attempt succeeds")
	}
}

func TestMessageIsJSON(t *testing.T) {
	t.Parallel()
	q, err := one(t, "ntfy://ntfy.sh/topic").post(Message{Title: "\x00\xff", Text: "x"})
	if err != nil || !json.Valid(q.body) {
		t.Errorf("%s, %v; want JSON", q.body, err)
	}
}

// A redirect would pass the message and the sign-in on.
func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("the redirect was followed")
	}))
	t.Cleanup(other.Close)
	first := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	t.Cleanup(first.Close)
	to := one(t, "ntfy://"+strings.TrimPrefix(first.URL, "http://")+"/topic?scheme=http")
	if err := NewSender(nil).Send(t.Context(), to, message()); err == nil || !strings.Contains(err.Error(), "307") {
		t.Errorf("%v; want the status as an error", err)
	}
}

func TestSlackChannelsAreDifferentTargets(t *testing.T) {
	t.Parallel()
	targets, wrong := Parse("slack://hook:T00000000-B00000001-abcdefghijklmnopqrstuvwx@webhook,"+
		"slack://hook:T00000000-B00000002-abcdefghijklmnopqrstuvwx@webhook", nil)
	if len(wrong) > 0 || len(targets) != 2 || targets[0].ID == targets[1].ID {
		t.Errorf("%d targets, wrong %q; want two with IDs of their own", len(targets), wrong)
	}
}
