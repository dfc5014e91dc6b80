package notify

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// Services returns the schemes of the URLs that Parse reads.
func Services() []string {
	return []string{"ntfy", "smtp", "telegram", "slack", "pushover", "generic", "generic+https", "generic+http"}
}

// MaxTargets is how many targets there may be.
const MaxTargets = 20

// Parse reads URLs, separated by spaces or commas. secrets sign the webhooks of generic targets. wrong
// says what is wrong with which URL, by its number, and holds no part of a URL.
func Parse(urls string, secrets [][]byte) (targets []*Target, wrong []string) {
	for n, text := range split(urls) {
		some, err := parse(text, secrets)
		if err != nil {
			wrong = append(wrong, fmt.Sprintf("number %d: %s", n+1, err))
		}
		targets = append(targets, some...)
	}
	if len(targets) > MaxTargets {
		wrong = append(wrong, fmt.Sprintf("at most %d recipients", MaxTargets))
	}
	return targets, wrong
}

// split separates URLs. A comma inside of a URL, as between two chats, does not separate.
func split(urls string) (list []string) {
	for _, field := range strings.Fields(urls) {
		begun := false // the field's first part has no URL before it to which it could belong
		for part := range strings.SplitSeq(field, ",") {
			switch {
			case part == "":
			case begun && !strings.Contains(part, "://"):
				list[len(list)-1] += "," + part
			default:
				list = append(list, part)
				begun = true
			}
		}
	}
	return list
}

// parse reads one URL. Its error must not hold a part of the URL, as that of url.Parse does.
func parse(text string, secrets [][]byte) ([]*Target, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme == "" || u.Opaque != "" {
		return nil, errors.New("is no URL such as ntfy://ntfy.sh/topic; " +
			"in names and passwords write %40 for @, %3A for :, %2F for / and %23 for #")
	}
	if u.Fragment != "" {
		return nil, errors.New("holds a #; write %23 for it")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, errors.New("the part after the question mark cannot be read")
	}
	o := &options{values: query}
	var targets []*Target
	switch u.Scheme {
	case "ntfy":
		targets, err = ntfy(u, o)
	case "smtp":
		targets, err = smtpMail(u, o)
	case "telegram":
		targets, err = telegram(u, o)
	case "slack":
		targets, err = slack(u, o)
	case "pushover":
		targets, err = pushover(u, o)
	case "generic", "generic+https", "generic+http":
		targets, err = generic(u, o, secrets)
	default:
		return nil, errors.New("has to begin with ntfy://, smtp://, telegram://, slack://, pushover:// " +
			"or generic+https://")
	}
	if err == nil {
		err = o.err
	}
	if err == nil && u.Scheme != "generic" && !strings.HasPrefix(u.Scheme, "generic+") {
		err = o.rest()
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", u.Scheme, err)
	}
	for _, t := range targets {
		t.Service, _, _ = strings.Cut(u.Scheme, "+")
		t.secrets = append(t.secrets, secretsOf(u)...)
	}
	return targets, nil
}

// secretsOf returns the parts of a URL that may be secrets.
func secretsOf(u *url.URL) (list []string) {
	if u.User != nil {
		password, _ := u.User.Password()
		name := u.User.Username()
		list = append(list, password, name, name+":"+password,
			base64.StdEncoding.EncodeToString([]byte(name+":"+password)),           // HTTP
			base64.StdEncoding.EncodeToString([]byte("\x00"+name+"\x00"+password))) // SMTP
	}
	if u.Scheme != "smtp" { // of which the path is empty
		list = append(list, strings.Trim(u.Path, "/"))
	}
	if u.Scheme == "pushover" {
		list = append(list, u.Host)
	}
	for _, values := range u.Query() {
		list = append(list, values...)
	}
	// The longest first, so that none is cut by another. Short ones would only garble the text.
	list = slices.DeleteFunc(list, func(s string) bool { return len(s) < 4 })
	slices.SortFunc(list, func(a, b string) int { return len(b) - len(a) })
	return list
}

// options are the parameters of a URL. Each is taken once, and what is left is a mistake.
type options struct {
	values url.Values
	err    error
}

// take returns the value of the first of the names that is set. Names are compared as shoutrrr does,
// in lower case.
func (o *options) take(names ...string) (value string) {
	for key, values := range o.values {
		if !slices.Contains(names, strings.ToLower(key)) {
			continue
		}
		delete(o.values, key)
		if value == "" {
			value = values[0]
		}
	}
	return value
}

// flag takes a yes or no.
func (o *options) flag(otherwise bool, names ...string) bool {
	switch value := strings.ToLower(o.take(names...)); value {
	case "":
		return otherwise
	case "yes", "true", "1":
		return true
	case "no", "false", "0":
		return false
	}
	o.err = fmt.Errorf("%s has to be yes or no", names[0])
	return otherwise
}

// list takes values with commas between them.
func (o *options) list(names ...string) (items []string) {
	for item := range strings.SplitSeq(o.take(names...), ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}

// rest returns an error for an option that the service does not have here.
func (o *options) rest() error {
	for key := range o.values {
		if plainName(key) {
			return fmt.Errorf("the option %s is not supported", key)
		}
		return errors.New("an option is not supported")
	}
	return nil
}

// plainName reports whether a name is surely no secret that slipped into the wrong place.
func plainName(name string) bool {
	return len(name) <= 20 && !strings.ContainsFunc(name, func(r rune) bool { return (r < 'a' || r > 'z') && r != '_' })
}

// local reports whether a host is this host or in a private network.
func local(host string) bool {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && (ip.IsLoopback() || ip.IsPrivate() || ip.IsLinkLocalUnicast())
}

// errPlain is returned for an address on the Internet without TLS.
var errPlain = errors.New("has to use TLS: without it, everybody on the way can read and change the message")

// base returns the base URL of a server of the operator's own.
func base(u *url.URL, plain bool) (string, error) {
	switch {
	case u.Hostname() == "":
		return "", errors.New("the host is missing")
	case plain && !local(u.Hostname()):
		return "", errPlain
	case plain:
		return "http://" + u.Host, nil
	}
	return "https://" + u.Host, nil
}
