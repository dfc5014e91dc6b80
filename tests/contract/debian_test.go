//go:build linux

package contract

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"notepay/internal/sandbox"
)

// debian is an empty Debian in a chroot, with the operator who installs notepay there.
type debian struct {
	*testing.T
	root    string
	machine time.Duration // what commands took
	person  time.Duration // what typing and looking things up took, as estimated
	typed   int           // commands and answers
}

// How long the operator needs. Typing 40 words a minute and deciding are of the keystroke-level model of
// Card, Moran and Newell. Reading is the 238 words a minute that Brysbaert found in 2019. The last one
// is a guess.
const (
	perCharacter = 280 * time.Millisecond
	perAnswer    = 1350 * time.Millisecond
	perWord      = time.Minute / 238
	perCopy      = 20 * time.Second // looking up a key on a vendor's page
)

// types counts what the operator types.
func (d *debian) types(text string, copied bool) {
	d.typed++
	if d.person += perAnswer; copied {
		d.person += perCopy
		return
	}
	d.person += time.Duration(len(text)+1) * perCharacter
}

// reads counts what the operator reads.
func (d *debian) reads(text string) { d.person += time.Duration(len(strings.Fields(text))) * perWord }

// run runs a command in the chroot, typed as shown, and returns its output.
func (d *debian) run(input, shown string, command ...string) string {
	d.Helper()
	d.types(shown, false)
	began := time.Now()
	c := exec.CommandContext(d.Context(), "chroot", append([]string{d.root}, command...)...)
	c.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive", "HOME=/root"}
	c.Stdin = strings.NewReader(input)
	out, err := c.CombinedOutput()
	took := time.Since(began)
	d.machine += took
	d.Logf("%6.1f s  # %s", took.Seconds(), shown)
	if err != nil {
		d.Fatalf("%s: %v\n%s", shown, err, out)
	}
	return string(out)
}

// question is an answer to a question of init.
type question struct {
	answer string
	copied bool // from a vendor's page
}

// TestDebian is the story of an owner with an empty Debian, a domain, and the files of a release. It
// runs only as part of make debtest, in a network of its own where ports 80 and 443 are free. All
// that is not the owner's is simulated: the vendors, the certificate authority and the DNS.
func TestDebian(t *testing.T) {
	root := os.Getenv("NOTEPAY_DEBIAN")
	if root == "" {
		t.Skip("NOTEPAY_DEBIAN is not set: make debtest runs this")
	}
	a := newAuthorityAt(t, "127.0.0.1:80", 90*24*time.Hour)
	overTLS := &http.Client{
		Timeout: 10 * time.Second,
		Transport: &http.Transport{
			ForceAttemptHTTP2: true,
			TLSClientConfig:   &tls.Config{RootCAs: a.issuerRoots},
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, network, "127.0.0.1:443")
			},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	w := newWorldOver(t, overTLS, nil, nil)
	var machines []string
	for n := range 20 {
		uid := fmt.Sprintf("dev:8644750442153%02d", n)
		w.notehub.AddDevice(sandbox.Device{UID: uid, Name: fmt.Sprintf("Washer %d", n+10), LastActivity: time.Now()})
		machines = append(machines, uid)
	}
	board := sandbox.NewMachine(w.notehub,
		sandbox.MachineConfig{Device: washer, Confirms: true, Every: 200 * time.Millisecond, MaxRun: time.Hour})
	go board.Run(t.Context())

	d := &debian{T: t, root: root}
	// There is no network here, so apt could not fetch what is recommended.
	d.run("", "apt install ./notepay_*.deb", "dpkg", "-i", "/tmp/previous.deb")
	d.worldIn(w, a)
	said := d.init(w)
	for _, want := range []string{"TLS_DOMAINS", "https://" + domain} {
		if !strings.Contains(d.env(), want) {
			t.Errorf("the settings lack %s:\n%s", want, said)
		}
	}

	service := newSupervisor(t, root)
	d.types("systemctl enable --now notepay", false)
	began := time.Now()
	service.start()
	w.until(t, "https works", func() bool {
		r, err := overTLS.Get("https://" + domain + "/health")
		if err != nil {
			return false
		}
		_ = r.Body.Close()
		return r.StatusCode == http.StatusOK
	})
	d.machine += time.Since(began)
	t.Logf("%6.1f s  # the service is up, with its certificate", time.Since(began).Seconds())
	if report := d.run("", "notepay check", "notepay", "check"); strings.Contains(report, "\nfailed") {
		t.Errorf("notepay check fails:\n%s", report)
	} else {
		for line := range strings.Lines(report) {
			if !strings.HasPrefix(line, "ok") {
				d.reads(line)
			}
		}
	}
	t.Logf("installed: %s of a person's time for %d commands and answers (estimated), %.1f s of the machine's",
		d.person.Round(time.Second), d.typed, d.machine.Seconds())
	if d.person > 5*time.Minute || d.machine > time.Minute {
		t.Error("want at most five minutes of a person's time, and one of the machine's")
	}

	t.Run("a payment in the browser", func(t *testing.T) { pays(t, a) }) // closed before the upgrade
	d.upgrade(w, service, overTLS, machines)
	service.stop()
	d.purge()
}

// env returns the settings.
func (d *debian) env() string {
	d.Helper()
	text, err := os.ReadFile(filepath.Join(d.root, "etc/notepay/env"))
	if err != nil {
		d.Fatal(err)
	}
	return string(text)
}

// worldIn makes the simulated world the one that notepay reaches. With the true one, nothing of this
// is needed: the DNS entry is in the DNS, and the vendors' addresses are notepay's defaults.
func (d *debian) worldIn(w *world, a *authority) {
	d.Helper()
	directory, err := os.ReadFile(a.rootFile)
	if err != nil {
		d.Fatal(err)
	}
	issuer, err := os.ReadFile(a.issuerFile)
	if err != nil {
		d.Fatal(err)
	}
	for file, text := range map[string]string{
		"etc/hosts":                         "127.0.0.1 localhost " + domain + "\n",
		"etc/ssl/certs/ca-certificates.crt": string(issuer),
		"tmp/directory.pem":                 string(directory),
	} {
		path := filepath.Join(d.root, file)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if err == nil {
			err = os.WriteFile(path, []byte(text), 0o644)
		}
		if err != nil {
			d.Fatal(err)
		}
	}
	lines := d.env()
	for _, name := range []string{"STRIPE_API_URL", "NOTEHUB_API_URL", "NOTEHUB_AUTH_URL"} {
		lines += name + "=" + w.env[name] + "\n"
	}
	lines += "ACME_DIRECTORY=" + a.directory + "\nACME_CA_FILE=/tmp/directory.pem\n"
	if err := os.WriteFile(filepath.Join(d.root, "etc/notepay/env"), []byte(lines), 0o600); err != nil {
		d.Fatal(err)
	}
}

// init answers the questions of notepay init.
func (d *debian) init(w *world) string {
	d.Helper()
	var text strings.Builder
	for _, q := range []question{
		{domain, false}, {"", false}, // Enter lets notepay speak HTTPS
		{stripeKey, true},
		{"", false}, {"Warm wash", false}, {"eur", false}, {"3.50", false}, {"45m", false}, {"", false},
		{project, true}, {"", false}, {clientID, true}, {clientSecret, true},
		{"y", false},
		{"help@example.com", false}, {"", false},
	} {
		d.types(q.answer, q.copied)
		fmt.Fprintln(&text, q.answer)
	}
	said := d.run(text.String(), "notepay init", "notepay", "init")
	if !strings.Contains(said, "What is left") {
		d.Fatalf("init does not end:\n%s", said)
	}
	d.reads(said)
	return said
}

// pays pays in a browser, and follows the machine's start.
func pays(t *testing.T, a *authority) {
	t.Helper()
	conn, err := tls.Dial("tcp", "127.0.0.1:443", &tls.Config{RootCAs: a.issuerRoots, ServerName: domain})
	if err != nil {
		t.Fatal(err)
	}
	leaf := conn.ConnectionState().PeerCertificates[0]
	_ = conn.Close()
	browser := newBrowser(t,
		chromedp.Flag("host-resolver-rules", "MAP "+domain+" 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),
		chromedp.Flag("ignore-certificate-errors-spki-list", spki(leaf))) // this authority's, which no browser knows
	phone := newTab(t, browser, sizes()[0])
	phone.open("https://" + domain + "/pay?device=" + washer)
	phone.reads("body", "SIMULATED CHECKOUT")
	pay(phone, goodCard)
	phone.until(fmt.Sprintf(`location.href.startsWith("https://%s/session/")`, domain))
	phone.until(fmt.Sprintf(`document.querySelector("h1").innerText.includes(%q)`, "has started"))
}

// spki returns the digest of a certificate's public key, by which Chromium knows it.
func spki(c *x509.Certificate) string {
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return base64.StdEncoding.EncodeToString(sum[:])
}

// upgrade installs the new package while customers scan and pay.
func (d *debian) upgrade(w *world, service *supervisor, client *http.Client, machines []string) {
	d.Helper()
	links := map[string]string{}
	for _, uid := range machines {
		w.until(d.T, uid+" sells", func() bool {
			r, err := client.Get("https://" + domain + "/pay?device=" + uid)
			if err != nil {
				return false
			}
			_ = r.Body.Close()
			links[uid] = r.Header.Get("Location")
			return r.StatusCode == http.StatusTemporaryRedirect
		})
	}
	handled := func() int {
		return len(w.notehub.Requests(postNote)) + len(w.stripe.Requests("POST /v1/refunds"))
	}
	before := handled()
	kept := len(service.kept) > 0 // an older program may not have left its sockets to systemd
	over, ended := make(chan struct{}), make(chan struct{})
	paid, scans, refused := 0, 0, 0
	go func() {
		defer close(ended)
		for {
			select {
			case <-over:
				return
			case <-time.After(20 * time.Millisecond):
			}
			if _, err := w.stripe.Pay(links[machines[paid%(len(machines)-1)]], sandbox.PayOptions{}); err != nil {
				d.Errorf("payment %d: %v", paid, err)
				return
			}
			paid++
			free := machines[len(machines)-1] // it gets no payment
			r, err := client.Get("https://" + domain + "/pay?device=" + free)
			if errors.Is(err, syscall.ECONNREFUSED) && !kept {
				refused++
				continue
			}
			if err != nil || r.StatusCode != http.StatusTemporaryRedirect {
				d.Errorf("scan %d: %v, %v; want a redirect to the checkout", scans, r, err)
				return
			}
			_ = r.Body.Close()
			scans++
		}
	}()
	time.Sleep(time.Second)
	began := time.Now()
	d.run("", "apt install ./notepay_*.deb", "dpkg", "-i", "/tmp/next.deb")
	restart := time.Now()
	service.stop() // as systemctl try-restart in the package does
	service.start()
	down := time.Since(restart)
	took := time.Since(began)
	time.Sleep(time.Second)
	close(over)
	<-ended
	w.until(d.T, "each payment has its note, or its refund if the machine was in use", func() bool {
		return handled() >= before+paid
	})
	w.until(d.T, "each webhook is answered", w.stripe.Settled)
	sent, failed := 0, 0
	for _, e := range w.stripe.Events() {
		if e.Deliveries == 0 {
			continue // of a type that notepay does not want
		}
		sent++
		if !e.Acked {
			d.Errorf("%s of %s is not acknowledged after %d deliveries", e.Type, e.Created, e.Deliveries)
		}
		if e.Deliveries > 1 {
			failed++
		}
	}
	// A payment that was made before the start waits for Stripe's list of events.
	held := strings.Count(service.log.String(), `"event held"`)
	d.Logf("%6.1f s  # upgraded under load, of which the restart took %.1f s", took.Seconds(), down.Seconds())
	d.Logf("meanwhile: %d payments, %d scans and %d refused, %d webhooks, of which %d waited and %d failed",
		paid, scans, refused, sent, held, failed)
	if failed > 0 && kept {
		d.Errorf("%d webhooks failed; want none", failed)
	}
	if sent < paid {
		d.Errorf("%d webhooks of %d payments", sent, paid)
	}
	said := d.run("", "notepay version", "notepay", "version")
	if health := d.run("", "notepay health", "notepay", "health"); !strings.Contains(health, `"status":"ok"`) {
		d.Errorf("the upgraded service, %s, is not well: %s", said, health)
	}
}

// purge removes the package, and keeps the record of payments.
func (d *debian) purge() {
	d.Helper()
	d.run("", "apt purge notepay", "dpkg", "-P", "notepay")
	left, err := exec.Command("find", d.root+"/etc", d.root+"/usr", d.root+"/lib/systemd", d.root+"/var/lib/notepay",
		"-path", "*notepay*").Output()
	if len(left) > 0 {
		d.Errorf("purging left %s, %v", left, err)
	}
	if kept, err := filepath.Glob(d.root + "/var/backups/notepay-*/notepay.db"); err != nil || len(kept) != 1 {
		d.Errorf("the record of payments is %v, %v; want one file", kept, err)
	}
}
