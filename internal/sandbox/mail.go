package sandbox

import (
	"bufio"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/textproto"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// Mail is an accepted e-mail.
type Mail struct {
	From string
	To   []string
	Data string // headers and body
}

// MailServer simulates an SMTP server (RFC 5321) without TLS. It is strict about the order of commands
// and about line ends. It is safe for concurrent use.
type MailServer struct {
	// User and Password are what clients must sign in with, if they are set.
	User, Password string

	report   Reporter
	listener net.Listener
	under    sync.WaitGroup

	mu    sync.Mutex
	mails []Mail
	down  bool
}

// NewMailServer returns a server on a free loopback port. Serve must be called.
func NewMailServer(report Reporter) (*MailServer, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	return &MailServer{report: report, listener: l}, err
}

// Addr returns the server's host and port.
func (s *MailServer) Addr() string { return s.listener.Addr().String() }

// Serve answers clients until Close.
func (s *MailServer) Serve() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.under.Go(func() {
			defer conn.Close()
			s.converse(conn)
		})
	}
}

// Close ends the server.
func (s *MailServer) Close() {
	_ = s.listener.Close() // a second error would say the same as the first
	s.under.Wait()
}

// Down makes the server refuse all clients, or accept them again.
func (s *MailServer) Down(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

// Mails returns the accepted e-mails, oldest first.
func (s *MailServer) Mails() []Mail {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.mails)
}

var mailPath = regexp.MustCompile(`^(?:FROM|TO):<([^<>\s@]+@[^<>\s@]+)>(?: BODY=8BITMIME)?(?: SMTPUTF8)?$`)

// converse answers one client.
func (s *MailServer) converse(conn net.Conn) {
	c := textproto.NewConn(conn)
	say := func(line string) { _ = c.PrintfLine("%s", line) } // a client that is gone reads nothing more
	s.mu.Lock()
	down := s.down
	s.mu.Unlock()
	if down {
		say("421 not now")
		return
	}
	say("220 mail.test ESMTP")
	var m Mail
	greeted, signedIn := false, s.User == ""
	for {
		line, err := c.ReadLine()
		if err != nil {
			return
		}
		command, rest, _ := strings.Cut(line, " ")
		path := mailPath.FindStringSubmatch(rest)
		switch {
		case command == "EHLO" && rest != "":
			greeted = true
			say("250-mail.test")
			say("250 AUTH PLAIN")
		case command == "AUTH" && greeted && !signedIn:
			text, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(rest, "PLAIN "))
			if signedIn = err == nil && string(text) == "\x00"+s.User+"\x00"+s.Password; !signedIn {
				say("535 " + rest + " is wrong") // as some servers do, it repeats the secret
				continue
			}
			say("235 welcome")
		case command == "MAIL" && greeted && signedIn && path != nil && m.From == "":
			m.From = path[1]
			say("250 ok")
		case command == "RCPT" && m.From != "" && path != nil:
			if strings.HasPrefix(path[1], "nobody@") {
				say("550 no such mailbox")
				continue
			}
			m.To = append(m.To, path[1])
			say("250 ok")
		case command == "DATA" && len(m.To) > 0:
			say("354 go on")
			if m.Data, err = readMail(c.R); err != nil {
				if !errors.Is(err, io.ErrUnexpectedEOF) {
					s.report.Errorf("mail: %v", err)
				}
				return
			}
			s.mu.Lock()
			s.mails = append(s.mails, m)
			s.mu.Unlock()
			m = Mail{}
			say("250 accepted")
		case command == "QUIT":
			say("221 bye")
			return
		default:
			if command != "*" { // a client that gave up its sign-in
				s.report.Errorf("mail: unexpected %q", line)
			}
			say("503 bad sequence")
		}
	}
}

// readMail reads the data of an e-mail. Every line must end in CRLF and have at most 998 characters.
func readMail(r *bufio.Reader) (string, error) {
	var text strings.Builder
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return "", io.ErrUnexpectedEOF
		}
		switch {
		case !strings.HasSuffix(line, "\r\n") || len(line) > 1000 || strings.Count(line, "\r") > 1:
			return "", errors.New("a line does not end in CRLF or is too long: " + line)
		case line == ".\r\n":
			return text.String(), nil
		}
		text.WriteString(strings.TrimPrefix(strings.TrimSuffix(line, "\r\n"), ".") + "\n")
	}
}
