package check

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"notepay/internal/backup"
	"notepay/internal/clientaddr"
	"notepay/internal/dsn"
	"notepay/internal/ledger"
	"notepay/internal/message"
)

// unknownSettings warns of names that are not settings and would silently have no effect.
func (r *run) unknownSettings(context.Context) Result {
	if len(r.Suspicious) > 0 {
		return warned(fix("correct the name or remove the line; .env.example lists every setting"),
			"%s", strings.Join(r.Suspicious, "; "))
	}
	return ok("all setting names are known")
}

// Loopback reports whether a URL leads to this host itself.
func Loopback(address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || strings.HasSuffix(u.Hostname(), ".localhost") || ip != nil && ip.IsLoopback()
}

func (r *run) ledgerAccess(ctx context.Context) Result {
	database := string(r.Settings.DatabaseURL)
	if err := ledger.CheckWritable(ctx, database); err != nil {
		return failed(
			fix("payments cannot be recorded: check the directory's owner, the free space, or the database user "+
				"(DATABASE_URL)"),
			"%s",
			err,
		)
	}
	if dsn.IsPostgres(database) {
		return ok("PostgreSQL accepts connections")
	}
	return ok("%s can be written", database)
}

// instances compares these settings with those of the instances that share the ledger.
func (r *run) instances(ctx context.Context) Result {
	if !dsn.IsPostgres(string(r.Settings.DatabaseURL)) {
		return ok("a SQLite ledger has one instance")
	}
	n, differ, err := r.Instances(ctx)
	switch {
	case err != nil:
		return skipped("the instances could not be read: %s", err)
	case len(differ) > 0:
		return warned(fix("give all instances the same settings, and start them again"),
			"%d of %d have other settings than these: %s", len(differ), n, strings.Join(differ, "; "))
	case n == 0:
		return ok("no notepay runs on this database now")
	}
	return ok("%d at work, with these settings", n)
}

func (r *run) ledgerDisk(context.Context) Result {
	database := string(r.Settings.DatabaseURL)
	if dsn.IsPostgres(database) {
		return skipped("the ledger is in PostgreSQL")
	}
	switch network, err := r.Disk(database); {
	case errors.Is(err, errors.ErrUnsupported):
		return skipped("this system does not report the disk type; SQLite needs a local disk")
	case err != nil:
		return skipped("the disk could not be checked: %s", err)
	case network != "":
		return failed(
			fix("put DATABASE_URL on a local disk, or use PostgreSQL"),
			"%s is on %s, which is not safe for SQLite",
			database,
			network,
		)
	}
	return ok("%s is on a local disk", database)
}

func (r *run) diskSpace(context.Context) Result {
	database := string(r.Settings.DatabaseURL)
	if dsn.IsPostgres(database) {
		return skipped("the ledger is in PostgreSQL")
	}
	remedy := fix("free space on the ledger's disk, or enlarge it")
	space, err := r.Space(database)
	free, floor := float64(space.Free)/1e6, float64(space.Floor())/1e6
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		return skipped("this system does not report free space")
	case err != nil:
		return skipped("the disk could not be checked: %s", err)
	case space.Free < space.Floor():
		return failed(remedy, "%.0f MB are free: sales stop with so little space", free)
	case space.Tight():
		return warned(remedy, "%.0f MB are free: sales stop when %.0f MB are left", free, floor)
	}
	return ok("%.0f MB are free", free)
}

// backups checks the age of the newest scheduled backup.
func (r *run) backups(context.Context) Result {
	s := r.Settings
	switch {
	case dsn.IsPostgres(string(s.DatabaseURL)):
		return skipped("the ledger is in PostgreSQL, which has its own backups")
	case s.BackupDir == "":
		return warned(
			fix("set BACKUP_DIR, best to a directory on another disk"),
			"BACKUP_DIR is not set: no backups are made",
		)
	}
	copies, err := backup.List(s.BackupDir)
	switch {
	case err != nil:
		return warned(fix("check the owner of BACKUP_DIR"), "the backups could not be read: %s", err)
	case len(copies) == 0:
		return warned(fix("start notepay: it makes the first one at once"), "%s holds no backup yet", s.BackupDir)
	}
	age := time.Since(copies[0].At).Round(time.Minute)
	if backup.Overdue(age, s.BackupEvery) {
		return warned(
			fix("check that notepay runs, the owner of BACKUP_DIR and its free space"),
			"the newest backup in %s is %s old",
			s.BackupDir,
			age,
		)
	}
	return ok("the newest of %d backups is %s old", len(copies), age)
}

// maxOffset is the largest offset of the host's clock that passes the check. notepay works by
// Stripe's time, but operators compare its times with the host's. Beyond vendortime.Tolerance
// notepay does not sell.
const maxOffset = 10 * time.Second

func (r *run) clock(context.Context) Result {
	ahead, seen := r.Clock.Ahead()
	ahead = ahead.Round(time.Second)
	switch {
	case !seen:
		return skipped("neither Stripe nor Notehub has answered")
	case ahead.Abs() <= maxOffset:
		return ok("in step with Stripe and Notehub")
	case ahead > 0:
		return failed(
			fix("turn on time synchronization (NTP)"),
			"%s ahead of Stripe and Notehub; sales stop at two minutes",
			ahead,
		)
	}
	return failed(
		fix("turn on time synchronization (NTP)"),
		"%s behind Stripe and Notehub; sales stop at two minutes",
		-ahead,
	)
}

// publicAddress requests notepay's health page through PUBLIC_URL, as Stripe and customers do.
func (r *run) publicAddress(ctx context.Context) Result {
	address := r.Settings.PublicURL
	r.secure = skipped("PUBLIC_URL was not reached")
	r.forwarded = skipped("PUBLIC_URL was not reached")
	if address == "" {
		r.secure = skipped("PUBLIC_URL is not set")
		return warned(
			fix("set PUBLIC_URL to the address at which customers reach notepay"),
			"PUBLIC_URL is not set: customers stay on Stripe's page after paying",
		)
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address+"/health", nil)
	if err != nil {
		return failed(fix("correct PUBLIC_URL"), "%s", err)
	}
	resp, err := r.Public.Do(req)
	if wrong, found := errors.AsType[*tls.CertificateVerificationError](err); found {
		r.secure = failed(
			fix("renew the certificate; it must cover this name and include the whole chain, or Stripe and "+
				"phones reject it"),
			"%s",
			wrong.Err,
		)
		return skipped("the certificate is not valid")
	}
	if err != nil {
		return failed(fix("check DNS, the firewall and the proxy"), "%s does not answer: %s", address, err)
	}
	defer resp.Body.Close()
	r.secure = validity(resp.TLS)
	var health struct {
		Status  string `json:"status"`
		Version string `json:"version"`
		// Forwarded is what became of the forwarded address of this request.
		Forwarded clientaddr.Origin `json:"forwarded_address"`
	}
	decodeErr := json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&health)
	if decodeErr == nil && health.Version != "" {
		r.forwarded = r.judgeForwarded(health.Forwarded)
	}
	switch code := resp.StatusCode; {
	case code/100 == 3:
		return failed(
			fix("let the proxy pass requests on without a redirect: Stripe counts a redirect as a failure"),
			"%s redirects to %s",
			address,
			resp.Header.Get("Location"),
		)
	case decodeErr == nil && health.Version != "" && code == http.StatusOK:
		return ok("notepay %s answers there: %s", health.Version, health.Status)
	case decodeErr == nil && health.Version != "":
		return warned(
			fix("check the log of the notepay that runs there"),
			"notepay %s answers there: %s",
			health.Version,
			health.Status,
		)
	case code == http.StatusBadGateway || code == http.StatusServiceUnavailable || code == http.StatusGatewayTimeout:
		return warned(
			fix("start notepay, and check that the proxy passes requests on to %s", r.Settings.Address()),
			"a proxy answers, but notepay is not behind it (status %d)",
			code,
		)
	default:
		return failed(
			fix("point PUBLIC_URL to notepay"),
			"something else answers at %s/health (status %d)",
			address,
			code,
		)
	}
}

// minValidity is how long a certificate must still be valid, or a quarter of its life if that is
// shorter. One that renews itself has done so earlier.
const minValidity = 14 * 24 * time.Hour

// validity checks the certificate of the connection to PUBLIC_URL.
func validity(state *tls.ConnectionState) Result {
	if state == nil {
		return skipped("PUBLIC_URL is not https")
	}
	first := slices.MinFunc(
		state.PeerCertificates,
		func(a, b *x509.Certificate) int { return a.NotAfter.Compare(b.NotAfter) },
	)
	end := first.NotAfter
	if left := time.Until(end); left < min(minValidity, end.Sub(first.NotBefore)/4) {
		return warned(
			fix("renew the certificate, or check why it does not renew by itself"),
			"expires in %d days",
			int(left.Hours()/24),
		)
	}
	return ok("valid until %s", end.Format(time.DateOnly))
}

// certificate returns what the call of PUBLIC_URL showed. If the built-in HTTPS could not renew its
// certificate, it returns why.
func (r *run) certificate(context.Context) Result {
	if r.local != nil && r.local.problem != "" {
		return failed(fix("do what the finding says; notepay then tries again by itself"),
			"%s", message.New(r.local.problem))
	}
	return r.secure
}

func (r *run) operatorToken(context.Context) Result {
	if r.Settings.OperatorToken == "" {
		return warned(
			fix("set OPERATOR_TOKEN to at least 16 characters"),
			"OPERATOR_TOKEN is not set: the console is closed, and refunds work only in Stripe's Dashboard",
		)
	}
	return ok("OPERATOR_TOKEN is set")
}

func (r *run) supportContact(context.Context) Result {
	if r.Settings.SupportContact == "" {
		return warned(
			fix("set SUPPORT_CONTACT to an e-mail address, a telephone number or a web address"),
			"SUPPORT_CONTACT is not set: when something goes wrong, customers do not learn where to ask for help",
		)
	}
	return ok("customers read %s", r.Settings.SupportContact)
}
