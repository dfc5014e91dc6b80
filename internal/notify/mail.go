package notify

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"net/smtp"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// mailbox is how a target sends e-mail.
type mailbox struct {
	host, port string
	implicit   bool // TLS begins at once, not by STARTTLS
	starttls   bool // STARTTLS is used where the server offers it
	required   bool // an answer without STARTTLS is an error
	auth       smtp.Auth
	from       *mail.Address
	to         []*mail.Address
	clientHost string
}

const implicitPort = "465"

// smtpMail reads smtp://name:password@host:port/?from=a@example.com&to=b@example.com.
func smtpMail(u *url.URL, o *options) ([]*Target, error) {
	b := &mailbox{
		host:       u.Hostname(),
		port:       cmp.Or(u.Port(), "25"),
		clientHost: cmp.Or(o.take("clienthost"), "localhost"),
	}
	from, fromName, to := o.take("from", "fromaddress"), o.take("fromname"), o.list("to", "toaddresses")
	b.starttls, b.required = o.flag(true, "starttls", "usestarttls"), o.flag(false, "requirestarttls")
	switch strings.ToLower(o.take("encryption")) {
	case "", "auto":
		b.implicit = b.port == implicitPort
	case "implicittls":
		b.implicit = true
	case "explicittls":
		b.starttls, b.required = true, true
	case "none":
		b.starttls = false
	default:
		return nil, errors.New("encryption has to be Auto, ExplicitTLS, ImplicitTLS or None")
	}
	if b.host == "" {
		return nil, errors.New("the host is missing")
	}
	if !b.starttls && !b.implicit && !local(b.host) {
		return nil, errPlain
	}
	var err error
	if b.from, err = mail.ParseAddress(from); err != nil {
		return nil, errors.New("from is missing or no e-mail address")
	}
	b.from.Name = cmp.Or(fromName, "notepay")
	if len(to) == 0 {
		return nil, errors.New("to is missing: the addresses that get the alerts")
	}
	for n, one := range to {
		address, err := mail.ParseAddress(one)
		if err != nil {
			return nil, fmt.Errorf("address %d after to is no e-mail address", n+1)
		}
		b.to = append(b.to, address)
	}
	if u.User != nil {
		password, _ := u.User.Password()
		b.auth = smtp.PlainAuth("", u.User.Username(), password, b.host)
	}
	switch strings.ToLower(o.take("auth")) {
	case "", "unknown", "plain":
	case "none":
		b.auth = nil
	default:
		return nil, errors.New("auth has to be Plain or None")
	}
	return []*Target{{ID: idOf(u, ""), mail: b.send}}, nil
}

// send delivers a message to all recipients, or to none if the server refuses one.
func (b *mailbox) send(ctx context.Context, m Message) error {
	address, config := net.JoinHostPort(b.host, b.port), &tls.Config{ServerName: b.host, MinVersion: tls.VersionTLS12}
	var conn net.Conn
	var err error
	if b.implicit {
		conn, err = (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", address)
	} else {
		conn, err = (&net.Dialer{}).DialContext(ctx, "tcp", address)
	}
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })() // net/smtp knows no context
	c, err := smtp.NewClient(conn, b.host)
	if err != nil {
		_ = conn.Close()
		return err
	}
	defer c.Close()
	if err := b.converse(c, config, m); err != nil {
		return cmp.Or(ctx.Err(), err)
	}
	_ = c.Quit() // the message is accepted, whatever the answer
	return nil
}

func (b *mailbox) converse(c *smtp.Client, config *tls.Config, m Message) error {
	if err := c.Hello(b.clientHost); err != nil {
		return err
	}
	if offered, _ := c.Extension("STARTTLS"); offered && b.starttls && !b.implicit {
		if err := c.StartTLS(config); err != nil {
			return err
		}
	} else if b.required && !b.implicit {
		return errors.New("the server offers no STARTTLS")
	}
	if b.auth != nil {
		if err := c.Auth(b.auth); err != nil {
			return err
		}
	}
	if err := c.Mail(b.from.Address); err != nil {
		return err
	}
	for _, to := range b.to {
		if err := c.Rcpt(to.Address); err != nil {
			return err
		}
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	text, err := b.message(m)
	if err == nil {
		_, err = w.Write(text)
	}
	if err != nil {
		return err // without Close, so that the server does not take a part for the whole
	}
	return w.Close()
}

// message returns a message as it is sent, with its headers.
func (b *mailbox) message(m Message) ([]byte, error) {
	var to []string
	for _, one := range b.to {
		to = append(to, one.String())
	}
	var text bytes.Buffer
	_, domain, _ := strings.Cut(b.from.Address, "@")
	for _, h := range [][2]string{
		{"From", b.from.String()},
		{"To", strings.Join(to, ", ")},
		{"Subject", mime.QEncoding.Encode("utf-8", m.Title)},
		{"Date", m.At.Format(time.RFC1123Z)},
		{"Message-ID", "<" + m.ID + "." + strconv.FormatInt(m.At.Unix(), 36) + "@" + domain + ">"},
		{"Auto-Submitted", "auto-generated"},
		{"MIME-Version", "1.0"},
		{"Content-Type", "text/plain; charset=utf-8"},
		{"Content-Transfer-Encoding", "quoted-printable"},
	} {
		text.WriteString(h[0] + ": " + strings.NewReplacer("\r", "", "\n", "").Replace(h[1]) + "\r\n")
	}
	text.WriteString("\r\n")
	body := quotedprintable.NewWriter(&text)
	lines := strings.ReplaceAll(m.Text+withLink(m.Link)+"\n", "\n", "\r\n")
	if _, err := body.Write([]byte(lines)); err != nil {
		return nil, err
	}
	return text.Bytes(), body.Close()
}
