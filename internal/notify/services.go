package notify

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"notepay/internal/upstream"
)

// jsonRequest returns a request with a JSON body.
func jsonRequest(address string, body any, header map[string]string) (request, error) {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	err := e.Encode(body)
	return request{url: address, kind: "application/json", body: bytes.TrimSpace(text.Bytes()), header: header}, err
}

// whole returns title, text and link as one text, of at most limit characters.
func (m Message) whole(limit int) string {
	return upstream.Cut(m.Title+"\n\n"+m.Text, limit-len(m.Link)-2) + withLink(m.Link)
}

// cutBytes cuts a text to a number of bytes, in whole characters.
func cutBytes(text string, limit int) string {
	const mark = "…"
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit-len(mark)], "") + mark
}

func withLink(link string) string {
	if link == "" {
		return ""
	}
	return "\n\n" + link
}

// basicAuth returns the Authorization header for a URL's name and password. An access token of ntfy
// may stand as the password without a name.
func basicAuth(user *url.Userinfo) map[string]string {
	if user == nil {
		return nil
	}
	password, _ := user.Password()
	return map[string]string{
		"Authorization": "Basic " + base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password)),
	}
}

var ntfyTopic = regexp.MustCompile(`^[-_A-Za-z0-9]{1,64}$`)

// ntfy reads ntfy://[name:password@]host[:port]/topic.
func ntfy(u *url.URL, o *options) ([]*Target, error) {
	plain := o.take("scheme") == "http"
	plain = o.flag(false, "disabletls") || plain
	priority, tags := o.take("priority"), o.list("tags")
	topic := strings.Trim(u.Path, "/")
	if u.Host == "" {
		u.Host = "ntfy.sh"
	}
	address, err := base(u, plain)
	if err != nil {
		return nil, err
	}
	if !ntfyTopic.MatchString(topic) {
		return nil, errors.New("the topic is missing or wrong, such as in ntfy://ntfy.sh/topic: " +
			"at most 64 letters, digits, - and _")
	}
	level, err := strconv.Atoi(cmp.Or(priority, "3"))
	if err != nil || level < 1 || level > 5 {
		return nil, errors.New("priority has to be a number from 1 to 5")
	}
	return []*Target{{ID: idOf(u, ""), post: func(m Message) (request, error) {
		const maxText = 4096 // bytes
		text := cutBytes(m.Text, maxText)
		body := map[string]any{"topic": topic, "title": m.Title, "message": text, "priority": level}
		if m.Urgent {
			body["priority"] = min(level+1, 5)
		}
		if len(tags) > 0 {
			body["tags"] = tags
		}
		if m.Link != "" {
			body["click"] = m.Link
		}
		return jsonRequest(address+"/", body, basicAuth(u.User))
	}}}, nil
}

var telegramToken = regexp.MustCompile(`^[0-9]+:[-_A-Za-z0-9]+$`)

// telegram reads telegram://token@telegram?chats=chat,chat:topic. Each chat is a target, so that
// one that fails does not repeat the message to the others.
func telegram(u *url.URL, o *options) (targets []*Target, err error) {
	token := ""
	if u.User != nil {
		password, _ := u.User.Password()
		token = u.User.Username() + ":" + password
	}
	chats := o.list("chats", "channels")
	quiet, preview := !o.flag(true, "notification"), o.flag(true, "preview")
	switch {
	case u.Host != "telegram" || !telegramToken.MatchString(token):
		return nil, errors.New("has to be written telegram://TOKEN@telegram?chats=CHAT with the token of your bot")
	case len(chats) == 0:
		return nil, errors.New("chats is missing: the number of a chat, or @name of a channel")
	}
	for _, chat := range chats {
		id, thread, _ := strings.Cut(chat, ":")
		topic, err := strconv.Atoi(cmp.Or(thread, "0"))
		if err != nil {
			return nil, errors.New("the topic after the chat has to be a number")
		}
		targets = append(targets, &Target{ID: idOf(u, chat), accept: acceptOK, post: func(m Message) (request, error) {
			const maxText = 4096
			body := map[string]any{"chat_id": id, "text": m.whole(maxText)}
			if topic != 0 {
				body["message_thread_id"] = topic
			}
			if quiet {
				body["disable_notification"] = true
			}
			if !preview {
				body["link_preview_options"] = map[string]bool{"is_disabled": true}
			}
			return jsonRequest("https://api.telegram.org/bot"+token+"/sendMessage", body, nil)
		}})
	}
	return targets, nil
}

// acceptOK reads a reply that says by "ok" whether it is a success.
func acceptOK(body []byte) error {
	var reply struct {
		OK          bool   `json:"ok"`
		Error       string `json:"error"`
		Description string `json:"description"`
	}
	if err := json.Unmarshal(body, &reply); err != nil {
		return errors.New("the reply cannot be read")
	}
	if !reply.OK {
		return errors.New(cmp.Or(reply.Error, reply.Description, "refused"))
	}
	return nil
}

var (
	slackHook  = regexp.MustCompile(`^([A-Z0-9]{9,})[-/,]([A-Z0-9]{9,})[-/,]([A-Za-z0-9]{24,})$`)
	slackToken = regexp.MustCompile(`^[-A-Za-z0-9]{10,}$`)
)

// slack reads slack://hook:A-B-C@webhook and slack://xoxb:A-B-C@channel.
func slack(u *url.URL, o *options) ([]*Target, error) {
	name := o.take("botname", "username")
	kind, token := "", ""
	if u.User != nil {
		kind = u.User.Username()
		token, _ = u.User.Password()
	}
	text := func(m Message) map[string]any {
		const maxText = 3000
		escape := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")
		body := map[string]any{"text": "*" + escape.Replace(m.Title) + "*\n" +
			upstream.Cut(escape.Replace(m.Text), maxText) + withLink(m.Link)}
		if name != "" {
			body["username"] = name
		}
		return body
	}
	hook := slackHook.FindStringSubmatch(token)
	switch {
	case kind == "hook" && hook != nil:
		address := "https://hooks.slack.com/services/" + strings.Join(hook[1:], "/")
		return []*Target{{ID: idOf(u, hook[1]+"/"+hook[2]), secrets: hook[1:], post: func(m Message) (request, error) {
			return jsonRequest(address, text(m), nil)
		}}}, nil
	case (kind == "xoxb" || kind == "xoxp") && slackToken.MatchString(token) && u.Host != "":
		return []*Target{{ID: idOf(u, ""), accept: acceptOK, post: func(m Message) (request, error) {
			body := text(m)
			body["channel"] = u.Host
			return jsonRequest("https://slack.com/api/chat.postMessage", body,
				map[string]string{"Authorization": "Bearer " + kind + "-" + token})
		}}}, nil
	}
	return nil, errors.New("has to be written slack://hook:A-B-C@webhook for https://hooks.slack.com/services/A/B/C, " +
		"or slack://xoxb:TOKEN@CHANNEL")
}

var pushoverKey = regexp.MustCompile(`^[A-Za-z0-9]{30}$`)

// pushover reads pushover://shoutrrr:TOKEN@USER/?devices=phone.
func pushover(u *url.URL, o *options) ([]*Target, error) {
	devices, priority := o.list("devices"), o.take("priority")
	token := ""
	if u.User != nil {
		token, _ = u.User.Password()
	}
	if !pushoverKey.MatchString(token) || !pushoverKey.MatchString(u.Host) {
		return nil, errors.New("has to be written pushover://shoutrrr:TOKEN@USER with the application's token " +
			"and your user key, 30 letters and digits each")
	}
	level, err := strconv.Atoi(cmp.Or(priority, "0"))
	if err != nil || level < -2 || level > 1 {
		return nil, errors.New("priority has to be a number from -2 to 1")
	}
	return []*Target{{ID: idOf(u, ""), post: func(m Message) (request, error) {
		const maxTitle, maxText = 250, 1024
		form := url.Values{"token": {token}, "user": {u.Host},
			"title": {upstream.Cut(m.Title, maxTitle)}, "message": {upstream.Cut(m.Text, maxText)}}
		if m.Urgent {
			form.Set("priority", strconv.Itoa(min(level+1, 1)))
		} else {
			form.Set("priority", strconv.Itoa(level))
		}
		if len(devices) > 0 {
			form.Set("device", strings.Join(devices, ","))
		}
		if m.Link != "" {
			form.Set("url", m.Link)
		}
		return request{
			url:  "https://api.pushover.net/1/messages.json",
			kind: "application/x-www-form-urlencoded",
			body: []byte(form.Encode()),
		}, nil
	}}}, nil
}
