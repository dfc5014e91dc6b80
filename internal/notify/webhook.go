package notify

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Secrets reads the secrets that sign webhooks, with commas between them. While the secret is changed
// there are two, and each webhook carries a signature for each.
func Secrets(text string) (secrets [][]byte, err error) {
	for one := range strings.SplitSeq(text, ",") {
		if one = strings.TrimSpace(one); one == "" {
			continue
		}
		coded, ok := strings.CutPrefix(one, "whsec_")
		key, err := base64.StdEncoding.DecodeString(coded)
		if !ok || err != nil || len(key) < 24 || len(key) > 64 {
			return nil, errors.New("each secret is whsec_ and 24 to 64 bytes in base64, " +
				"such as the output of: echo whsec_$(openssl rand -base64 32)")
		}
		secrets = append(secrets, key)
	}
	return secrets, nil
}

// Sign returns the header webhook-signature of the Standard Webhooks specification.
func Sign(secrets [][]byte, id string, at time.Time, body []byte) string {
	var signatures []string
	for _, key := range secrets {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(id + "." + strconv.FormatInt(at.Unix(), 10) + "."))
		mac.Write(body)
		signatures = append(signatures, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	return strings.Join(signatures, " ")
}

// event is the body of a webhook, in the form of the Standard Webhooks specification.
type event struct {
	Type      string    `json:"type"` // alert.open, alert.resolved, alert.digest, alert.test
	Timestamp time.Time `json:"timestamp"`
	Data      eventData `json:"data"`
}

type eventData struct {
	Kind   string `json:"kind"`
	Title  string `json:"title"`
	Text   string `json:"text"`
	Link   string `json:"link,omitempty"`
	Count  int    `json:"count"`
	Urgent bool   `json:"urgent"`
}

var headerName = regexp.MustCompile(`^[A-Za-z0-9-]+$`)

// generic reads generic+https://host/path and generic://host/path. Options that are not known belong
// to the address, and @Name=value sets a header.
func generic(u *url.URL, o *options, secrets [][]byte) ([]*Target, error) {
	plain := o.flag(false, "disabletls") || u.Scheme == "generic+http"
	if template := o.take("template"); template != "" && !strings.EqualFold(template, "json") {
		return nil, errors.New("template has to be json")
	}
	for _, name := range []string{"method", "contenttype", "messagekey", "titlekey", "title"} {
		if o.take(name) != "" {
			return nil, errors.New("the option " + name + " is not supported, because the body has a fixed form")
		}
	}
	header, query := map[string]string{}, url.Values{}
	for key, values := range o.values {
		name, isHeader := strings.CutPrefix(key, "@")
		switch {
		case strings.HasPrefix(key, "$"):
			return nil, errors.New("options with $ are not supported, because the body has a fixed form")
		case !isHeader:
			query[strings.TrimPrefix(key, "_")] = values
		case !headerName.MatchString(name) || strings.HasPrefix(strings.ToLower(name), "webhook-") ||
			strings.ContainsAny(values[0], "\r\n"):
			return nil, errors.New("a header cannot be set")
		default:
			header[http.CanonicalHeaderKey(name)] = values[0]
		}
	}
	host, err := base(u, plain)
	if err != nil {
		return nil, err
	}
	address := host + u.EscapedPath()
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	for name, value := range basicAuth(u.User) {
		header[name] = value
	}
	return []*Target{{ID: idOf(u, ""), post: func(m Message) (request, error) {
		q, err := jsonRequest(address, event{
			Type:      "alert." + m.State,
			Timestamp: m.At.UTC(),
			Data:      eventData{m.Kind, m.Title, m.Text, m.Link, m.Count, m.Urgent},
		}, map[string]string{"webhook-id": m.ID, "webhook-timestamp": strconv.FormatInt(m.At.Unix(), 10)})
		for name, value := range header {
			q.header[name] = value
		}
		if len(secrets) > 0 {
			q.header["webhook-signature"] = Sign(secrets, m.ID, m.At, q.body)
		}
		return q, err
	}}}, nil
}
