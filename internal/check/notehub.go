package check

import (
	"cmp"
	"context"
	"crypto/ecdh"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"notepay/internal/fleet"
	"notepay/internal/ledger"
	"notepay/internal/message"
	"notepay/internal/notecrypt"
	"notepay/internal/upstream"
)

const (
	// sampleSize is how many devices are read one by one. Each takes one or two of the seven calls
	// a minute that the free plan allows.
	sampleSize = 3
	// maxOddNamed is how many devices with unreadable records are named.
	maxOddNamed = 5
	// maxRoutes is how many routes are read one by one. Notehub's list does not show their URLs.
	maxRoutes = 5
)

// signIn also reads the project, because only a call shows whether a personal access token works.
func (r *run) signIn(ctx context.Context) Result {
	if slices.ContainsFunc(r.damaged, func(name string) bool { return strings.HasPrefix(name, "NOTEHUB_") }) {
		return skipped("a secret is damaged")
	}
	remedy := fix("make a new OAuth client in the project under Settings, Programmatic API access, " +
		"or a personal access token")
	err := retryLimited(ctx, func() error { return r.Notehub.SignIn(ctx) })
	if err == nil {
		var project struct{}
		r.projectErr = retryLimited(ctx, func() error { return r.Notehub.Read(ctx, "", "", &project) })
		if err = r.projectErr; status(err) != 0 && status(err) != http.StatusUnauthorized {
			err = nil // which is the next check
		}
	}
	switch {
	case err == nil:
		r.notehubWorks = true
		return ok("Notehub accepts the credentials")
	case status(err) == 0:
		return failed(
			fix("check that this host reaches %s (DNS, firewall, NOTEHUB_API_URL, NOTEHUB_AUTH_URL)",
				r.Settings.NotehubAPIURL),
			"Notehub is not reached: %s",
			Explain(err),
		)
	case r.Settings.NotehubToken != "":
		return failed(
			fix("make a new personal access token in Notehub under API Access, because tokens expire"),
			"Notehub says: %s",
			Explain(err),
		)
	default:
		return failed(remedy, "Notehub says: %s", Explain(err))
	}
}

func (r *run) project(context.Context) Result {
	switch {
	case !r.notehubWorks:
		return skipped("notepay is not signed in")
	case status(r.projectErr) >= http.StatusInternalServerError:
		return failed(fix("try again later"), "Notehub did not answer: %s", Explain(r.projectErr))
	case r.projectErr != nil:
		return failed(
			fix("copy NOTEHUB_PROJECT_UID from the project's settings; an OAuth client covers only its own project"),
			"Notehub says of %s: %s",
			r.Settings.NotehubProjectUID,
			Explain(r.projectErr),
		)
	}
	return ok("%s", r.Settings.NotehubProjectUID)
}

// noteFiles warns if a payment waits in a notefile that is not NOTE_FILE. Its machine may read only one
// of them.
func (r *run) noteFiles(ctx context.Context) Result {
	devices := r.sample()
	if len(devices) == 0 {
		return skipped("there is no device to check")
	}
	var left message.List
	for _, d := range devices {
		var files []json.RawMessage
		path := "/devices/" + url.PathEscape(cmp.Or(d.Spelled, d.UID)) + "/files"
		err := retryLimited(ctx, func() error { return r.Notehub.Read(ctx, path, "pending=true", &files) })
		if err != nil {
			return skipped("the notefiles of %s could not be read: %s", d.UID, Explain(err))
		}
		for _, file := range files {
			if id, waiting := waitingPayments(file); waiting > 0 && id != r.Settings.NoteFile {
				name := strings.TrimSpace(d.UID + " " + d.Name)
				left = append(left, message.New("%d in %s of %s", waiting, id, name))
			}
		}
	}
	if len(left) > 0 {
		return warned(
			fix("wait: notepay recalls them there at the end of their lifetime, "+
				"unless the machine fetches them before"),
			"NOTE_FILE is %s, and payments wait elsewhere: %s", r.Settings.NoteFile, left)
	}
	return ok("payments go to %s, and answers come in %s", r.Settings.NoteFile, r.Settings.AckFile)
}

// waitingPayments returns the name of a notefile, and how many payments wait in it. Notes of other
// programs may have any shape.
func waitingPayments(text json.RawMessage) (id string, waiting int) {
	var file struct {
		ID    string            `json:"id"`
		Notes []json.RawMessage `json:"notes"`
	}
	if json.Unmarshal(text, &file) != nil {
		return "", 0
	}
	for _, text := range file.Notes {
		var note struct {
			Body struct {
				CreditID any `json:"credit_id"`
				Alg      any `json:"alg"` // of an encrypted note
			} `json:"body"`
		}
		if json.Unmarshal(text, &note) != nil {
			continue
		}
		if credit, _ := note.Body.CreditID.(string); credit != "" || note.Body.Alg == notecrypt.Algorithm {
			waiting++
		}
	}
	return file.ID, waiting
}

// noteEncryption checks that the public keys of the devices are known if notes are encrypted for them.
func (r *run) noteEncryption(ctx context.Context) Result {
	if !r.Settings.NotesEncrypted() {
		return ok("notes are not encrypted (ENCRYPT_NOTES is off)")
	}
	if len(r.devices) == 0 {
		return skipped("there is no device to check")
	}
	var keys map[string]*ecdh.PublicKey
	err := retryLimited(ctx, func() (err error) { keys, err = r.Notehub.PublicKeys(ctx); return err })
	if err != nil {
		return failed(fix("set ENCRYPT_NOTES=off, or let the credentials read the devices' public keys"),
			"ENCRYPT_NOTES is experimental, and the public keys could not be read: %s", Explain(err))
	}
	var missing []string
	for _, d := range r.devices {
		if keys[d.UID] == nil {
			missing = append(missing, strings.TrimSpace(d.UID+" "+d.Name))
		}
	}
	named := strings.Join(missing[:min(len(missing), maxOddNamed)], "; ")
	remedy := fix("a Notecard LoRa has no key; set ENCRYPT_NOTES=off to sell on them")
	switch {
	case len(missing) == len(r.devices):
		return failed(remedy,
			"ENCRYPT_NOTES is experimental, and no device has a public key, so none is sold: %s", named)
	case len(missing) > 0:
		return warned(remedy,
			"ENCRYPT_NOTES is experimental, and %d of %d devices have no public key, so they are not sold: %s",
			len(missing), len(r.devices), named)
	}
	return warned(fix("try it with each kind of Notecard that you use (docs/vendors.md, U18)"),
		"ENCRYPT_NOTES is experimental: all %d devices have a public key, "+
			"but no Notecard was asked whether it decrypts",
		len(r.devices))
}

// noProject returns why the project cannot be checked. Its State is "" if it can.
func (r *run) noProject() Result {
	switch {
	case !r.notehubWorks:
		return skipped("notepay is not signed in")
	case r.projectErr != nil:
		return skipped("the project was not found")
	}
	return Result{}
}

func (r *run) listDevices(ctx context.Context) Result {
	if why := r.noProject(); why.State != "" {
		return why
	}
	where := message.New("the project")
	if r.Settings.NotehubFleetUID != "" {
		where = message.New("fleet %s", r.Settings.NotehubFleetUID)
	}
	err := retryLimited(ctx, func() (err error) { r.devices, err = r.Notehub.Devices(ctx); return err })
	off := 0
	var odd message.List
	for _, d := range r.devices {
		if d.Disabled {
			off++
		}
		if d.Problem != "" {
			odd = append(odd, message.New("%s: %s", strings.TrimSpace(d.UID+" "+d.Name), message.New(d.Problem)))
		}
	}
	listed := len(r.devices)
	r.devices = slices.DeleteFunc(r.devices, func(d ledger.Device) bool { return d.Unreadable })
	switch {
	case err != nil:
		r.devices = nil
		return failed(
			fix("check that NOTEHUB_FLEET_UID is a fleet of the project"),
			"the devices of %s could not be listed: %s",
			where,
			Explain(err),
		)
	case len(r.devices) == 0 && listed > 0:
		return failed(
			fix("correct them in Notehub"),
			"none of the %d devices of %s can take payments: %s",
			listed,
			where,
			odd[:min(len(odd), maxOddNamed)],
		)
	case len(r.devices) == 0:
		return failed(
			fix("give a Notecard the project's ProductUID with hub.set, and connect it once"),
			"%s has no device",
			where,
		)
	case off == len(r.devices):
		return failed(fix("enable a device in Notehub"), "all %d devices of %s are disabled", off, where)
	case len(odd) > 0:
		return warned(
			fix("correct them in Notehub; the other devices are not affected"),
			"%d of %d devices in %s: %s",
			len(odd),
			listed,
			where,
			odd[:min(len(odd), maxOddNamed)],
		)
	}
	return ok("%d in %s, %d of them disabled", len(r.devices), where, off)
}

// sample returns the enabled devices to check one by one. It takes the most recently active ones,
// because customers notice their problems first.
func (r *run) sample() []ledger.Device {
	devices := slices.DeleteFunc(slices.Clone(r.devices), func(d ledger.Device) bool { return d.Disabled })
	slices.SortStableFunc(devices, func(a, b ledger.Device) int { return b.LastActivity.Compare(a.LastActivity) })
	return devices[:min(len(devices), sampleSize)]
}

// connections checks that devices stay connected. A device that does not fetches a note at its next
// sync, which may never come.
func (r *run) connections(ctx context.Context) Result {
	devices := r.sample()
	if len(devices) == 0 {
		return skipped("there is no device to check")
	}
	var late message.List
	var seen []string
	for _, d := range devices {
		name := strings.TrimSpace(d.UID + " " + d.Name)
		if d.LastActivity.IsZero() {
			late = append(late, message.New("%s was never connected", name))
			continue
		}
		var reply struct {
			Sessions []struct {
				Continuous bool `json:"continuous"`
			} `json:"sessions"` // assumed to be the newest first (docs/vendors.md, U22)
		}
		path := "/devices/" + url.PathEscape(cmp.Or(d.Spelled, d.UID)) + "/sessions"
		err := retryLimited(ctx, func() error { return r.Notehub.Read(ctx, path, "pageSize=1", &reply) })
		switch {
		case err != nil:
			return skipped("the sessions of %s could not be read: %s", name, Explain(err))
		case len(reply.Sessions) == 0:
			late = append(late, message.New("%s has no session", name))
		case !reply.Sessions[0].Continuous:
			late = append(late, message.New("%s does not stay connected", name))
		default:
			seen = append(seen, name)
		}
	}
	of := message.New("checked the %d most recently active of %d devices", len(devices), len(r.devices))
	if len(late) > 0 {
		return warned(
			fix(`use hub.set with "mode":"continuous","sync":true; `+
				`with "periodic" a machine starts only at its next inbound sync`),
			"%s: %s",
			of,
			late,
		)
	}
	return ok("%s: %s stay connected", of, strings.Join(seen, ", "))
}

// variables checks the environment variables of the project, its fleets and the sampled devices.
func (r *run) variables(ctx context.Context) Result {
	if why := r.noProject(); why.State != "" {
		return why
	}
	if !r.stripeWorks {
		return skipped("the Stripe key does not work")
	}
	levels, err := r.levels(ctx)
	if err != nil {
		return skipped("the variables could not be read: %s", Explain(err))
	}
	named := 0
	var bad, unread message.List
	for _, level := range levels {
		for _, why := range level.wrong {
			bad = append(bad, message.New("%s: %s", level.name, why))
		}
		if level.unread != "" {
			unread = append(unread, message.New("%s: %s", level.name, message.New(level.unread)))
		}
		for _, id := range level.prices {
			named++
			switch p := r.price(ctx, id); {
			case p.err != nil:
				return skipped("%s could not be read: %s", id, Explain(p.err))
			case p.why != "":
				bad = append(bad, message.New("%s names %s: %s", level.name, id, message.New(p.why)))
			}
		}
	}
	if len(bad) > 0 {
		return failed(
			fix("correct stripe_price_id, payment_enabled, credit_lifetime, machine_kind or code_... in Notehub; "+
				"until then wrong prices are not for sale, and CREDIT_LIFETIME and neutral words apply"),
			"%s",
			bad,
		)
	}
	if len(unread) > 0 {
		return warned(fix("correct the record in Notehub; until then what was read before applies, "+
			"and a fleet whose variables were never read takes no payments"), "%s", unread)
	}
	return ok("%d prices named by the project, its fleets and %d devices are valid", named, len(r.sample()))
}

// level is a place in Notehub whose variables say what is sold.
type level struct {
	name   message.Message
	prices []string
	wrong  message.List
	unread string // why its variables are not known, "" if they are
}

// levels reads the variables of all places that the variables check is about.
func (r *run) levels(ctx context.Context) (levels []level, err error) {
	parse := func(name message.Message, variables map[string]string) {
		prices, wrong := fleet.Terms(variables, r.Settings.Terms())
		levels = append(levels, level{name: name, prices: prices, wrong: wrong})
	}
	add := func(name message.Message, read func() (map[string]string, error)) {
		if err != nil {
			return
		}
		var variables map[string]string
		err = retryLimited(ctx, func() (err error) { variables, err = read(); return err })
		parse(name, variables)
	}
	add(message.New("the project"), func() (map[string]string, error) { return r.Notehub.ProjectVariables(ctx) })
	var fleets map[string]map[string]string
	complete := true
	if err == nil {
		err = retryLimited(ctx, func() (err error) {
			fleets, complete, err = r.Notehub.FleetVariables(ctx)
			return err
		})
	}
	for _, uid := range slices.Sorted(maps.Keys(fleets)) {
		parse(message.New("fleet %s", uid), fleets[uid])
		if fleets[uid] == nil {
			levels[len(levels)-1].unread = "environment_variables cannot be read"
		}
	}
	if err == nil && !complete {
		levels = append(levels, level{name: message.New("the list of fleets"), unread: "a record has no uid"})
	}
	for _, d := range r.sample() {
		add(message.New("device %s", d.UID), func() (map[string]string, error) {
			return r.Notehub.DeviceVariables(ctx, d.UID)
		})
	}
	return levels, err
}

// confirmations warns if notepay waits for no answer of the machines.
func (r *run) confirmations(context.Context) Result {
	if r.Settings.ConfirmWithin == 0 {
		return warned(
			fix("set CONFIRM_WITHIN, such as %s, if your firmware confirms that it started",
				r.Settings.SuggestConfirmWithin()),
			"CONFIRM_WITHIN is 0: a credit counts as delivered when the Notecard has fetched its note, "+
				"whether or not the machine starts",
		)
	}
	return ok("machines have %s to confirm, or the money goes back", r.Settings.ConfirmWithin)
}

// route checks that a route leads to notepay if NOTEHUB_ROUTE_TOKEN is set.
func (r *run) route(ctx context.Context) Result {
	target := r.Settings.PublicURL + "/webhook/notehub"
	switch why := r.noProject(); {
	case r.Settings.ConfirmWithin == 0:
		return skipped("machines are not expected to confirm (CONFIRM_WITHIN is 0)")
	case r.Settings.NotehubRouteToken == "":
		return ok("NOTEHUB_ROUTE_TOKEN is not set, so notepay asks Notehub for answers")
	case r.Settings.PublicURL == "":
		return failed(
			fix("set PUBLIC_URL"),
			"NOTEHUB_ROUTE_TOKEN is set but PUBLIC_URL is not, so no route can lead to notepay",
		)
	case why.State != "":
		return why
	}
	var routes []json.RawMessage
	if err := retryLimited(ctx, func() error { return r.Notehub.Read(ctx, "/routes", "", &routes) }); err != nil {
		return skipped("the routes could not be read: %s", Explain(err))
	}
	read, unread := 0, message.Message{}
	for _, text := range routes {
		var summary struct {
			UID      string `json:"uid"`
			Type     string `json:"type"`
			Disabled bool   `json:"disabled"`
		}
		if json.Unmarshal(text, &summary) != nil {
			unread = message.New("a route could not be read: %s", upstream.Excerpt(text))
			continue
		}
		if summary.Disabled || summary.Type != "http" || read == maxRoutes {
			continue
		}
		read++
		var route struct {
			HTTP struct {
				URL    string `json:"url"`
				Filter struct {
					Type  string   `json:"type"`
					Files []string `json:"files"`
				} `json:"filter"`
			} `json:"http"`
		}
		path := "/routes/" + url.PathEscape(summary.UID)
		err := retryLimited(ctx, func() error { return r.Notehub.Read(ctx, path, "", &route) })
		if upstream.OutcomeOf(err) != upstream.OK { // another route may be ours
			unread = message.New("route %s could not be read: %s", summary.UID, Explain(err))
			continue
		}
		filter := route.HTTP.Filter
		listed := slices.Contains(filter.Files, r.Settings.AckFile)
		leads := strings.TrimRight(route.HTTP.URL, "/") == target
		switch {
		case leads && (filter.Type == "inclusion" && len(filter.Files) > 0 && !listed ||
			filter.Type == "exclusion" && listed):
			return failed(
				fix("add %s to the notefiles of the route, or set ACK_FILE to the file of the machines' answers",
					r.Settings.AckFile),
				"route %s leads to %s, but not for %s", summary.UID, target, r.Settings.AckFile)
		case leads:
			return ok("route %s leads to %s; Notehub does not show its header", summary.UID, target)
		}
	}
	if !unread.IsZero() {
		return Result{State: Skipped, Detail: unread}
	}
	return failed(
		fix("make a General HTTP/HTTPS route for %s to %s "+
			"with the header Authorization: Bearer and NOTEHUB_ROUTE_TOKEN", r.Settings.AckFile, target),
		"of %d routes, no enabled one leads to %s (%d were read)",
		len(routes),
		target,
		read,
	)
}
