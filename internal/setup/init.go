package setup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"notepay/internal/check"
	"notepay/internal/config"
	"notepay/internal/upstream"
)

// InitConfig configures Init. All fields are required.
type InitConfig struct {
	File    string              // the settings file; it need not exist
	Getenv  func(string) string // the environment, which wins over the file
	Connect func(*config.Settings) Vendors
	In      io.Reader // the operator's answers, one a line
	Out     io.Writer
}

// Vendors are the clients for one set of settings. None has made a call.
type Vendors struct {
	Check  check.Config
	Routes Routes
}

// Routes creates routes in Notehub.
type Routes interface {
	// CreateRoute creates a route that sends confirmations to url with a bearer token.
	CreateRoute(ctx context.Context, label, url, token string) error
}

// Init asks for every setting that an installation needs, in order. It checks each answer with the
// vendor before it asks for the next, and creates price, webhook endpoint and route if they are
// missing.
//
// Init writes each answer to the file as soon as it is checked. So an interrupted run continues
// where it stopped: the next one offers what the file holds. The error is worded for the operator.
func Init(ctx context.Context, c InitConfig) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w := &wizard{dialog: newDialogue(ctx, c.In, c.Out), c: c, answers: map[string]string{}}
	w.say("notepay init asks for what notepay needs, checks each answer, and writes it to %s.", c.File)
	w.say("Ctrl-C stops it. The next run goes on from there. Enter takes what is in [brackets].")
	for n, step := range []struct {
		title string
		do    func(context.Context) error
	}{
		{"Address", w.address},
		{"Stripe key", w.stripeKey},
		{"Price", w.price},
		{"Webhook", w.webhook},
		{"Notehub", w.notehub},
		{"Machines", w.machines},
		{"Help and alerts", w.people},
	} {
		w.say("\n%d of 7  %s", n+1, step.title)
		if err := step.do(ctx); err != nil {
			return err
		}
	}
	w.summary()
	return w.err
}

// wizard is one run of Init.
type wizard struct {
	*dialog
	c       InitConfig
	answers map[string]string // not yet in the file
	left    []string          // what the operator still has to do
}

// getenv returns an answer that is not in the file yet, or the environment's value.
func (w *wizard) getenv(name string) string {
	if v, answered := w.answers[name]; answered {
		return v
	}
	return w.c.Getenv(name)
}

// load reads the settings with the answers so far. It returns what is wrong with the named ones.
func (w *wizard) load(names ...string) (s *config.Settings, why string, err error) {
	s, problems, err := config.LoadPart(w.c.File, w.getenv, names...)
	for i, p := range problems {
		_, problems[i], _ = strings.Cut(p, ": ")
	}
	return s, strings.Join(problems, "\n"), err
}

// current returns the value of a setting, or "".
func (w *wizard) current(name string) (string, error) {
	if v := strings.TrimSpace(w.getenv(name)); v != "" {
		return v, nil
	}
	values, err := config.ReadFile(w.c.File)
	return strings.TrimSpace(values[name]), err
}

// field is a setting that the operator types.
type field struct {
	name, question string
	secret         bool                // its present value is not shown
	optional       bool                // Enter leaves an empty setting empty
	tidy           func(string) string // corrects what was typed; nil: nothing
}

// ask asks for a setting until its form is right. It offers the present value, and does not save.
func (w *wizard) askField(f field) error {
	present, err := w.current(f.name)
	if err != nil {
		return err
	}
	question := f.question
	if _, why, err := w.load(f.name); err != nil {
		return err
	} else if why != "" {
		present = ""
	}
	shown := present
	if f.secret && present != "" {
		shown = "the present one"
	}
	if shown != "" {
		question += " [" + shown + "]"
	}
	validate := func(answer string) string {
		if f.tidy != nil {
			answer = f.tidy(answer)
		}
		if strings.Contains(answer, " #") || strings.ContainsAny(answer, "\"'`") {
			return "Write it without quotation marks and without a # after a space."
		}
		before, had := w.answers[f.name]
		w.answers[f.name] = answer
		_, why, err := w.load(f.name)
		if why == "" && err != nil {
			why = err.Error()
		}
		if why != "" {
			if delete(w.answers, f.name); had {
				w.answers[f.name] = before
			}
			return "This is not right: " + why + "."
		}
		return ""
	}
	if f.optional || present != "" {
		_, err = w.askOr(present, question+":", validate)
	} else {
		_, err = w.ask(question+":", validate)
	}
	return err
}

// set records an answer that needs no question.
func (w *wizard) set(name, value string) { w.answers[name] = value }

// save writes the answers to the file.
func (w *wizard) save() error {
	var write []setting
	values, err := config.ReadFile(w.c.File)
	if err != nil {
		return err
	}
	for _, name := range config.Names() {
		if v, answered := w.answers[name]; answered && values[name] != v {
			write = append(write, setting{name: name, value: v})
		}
	}
	if len(write) > 0 {
		if err := writeSettings(w.c.File, write); err != nil {
			return fmt.Errorf("write %s: %w", w.c.File, err)
		}
	}
	clear(w.answers)
	return nil
}

// check runs checks and prints their results. It returns the names of those that failed.
func (w *wizard) check(ctx context.Context, names ...string) (failed []string, err error) {
	s, _, err := w.load()
	if err != nil {
		return nil, err
	}
	c := w.c.Connect(s).Check
	c.Only = names
	c.Report = nil
	for _, r := range check.Run(ctx, c) {
		switch r.State {
		case check.OK:
			w.say("  ok      %s: %s", r.Name, r.Detail)
		case check.Failed:
			failed = append(failed, r.Name)
			w.say("  failed  %s: %s\n          %s", r.Name, r.Detail, r.Remedy)
		case check.Warned:
			w.say("  warned  %s: %s\n          %s", r.Name, r.Detail, r.Remedy)
		case check.Skipped: // an earlier check says why
		}
	}
	return failed, errors.Join(ctx.Err(), w.err)
}

// askUntil asks for fields until no check fails, and saves the answers.
func (w *wizard) askUntil(ctx context.Context, fields []field, checks ...string) error {
	for {
		for _, f := range fields {
			if err := w.askField(f); err != nil {
				return err
			}
		}
		failed, err := w.check(ctx, checks...)
		if err != nil {
			return err
		}
		if len(failed) == 0 {
			return w.save()
		}
	}
}

func (w *wizard) address(ctx context.Context) error {
	w.say("  The https:// address under which customers and Stripe reach this computer.")
	w.say("  README.md, Install, says how to get one. To look around first, enter http://localhost:3000.")
	before, err := w.current("PUBLIC_URL")
	if err != nil {
		return err
	}
	err = w.askField(field{
		name:     "PUBLIC_URL",
		question: "  Address (https://pay.example.com)",
		tidy: func(s string) string {
			if !strings.Contains(s, "://") {
				s = "https://" + s
			}
			return s
		},
	})
	if err == nil {
		err = w.https(ctx, before == "")
	}
	if err != nil {
		return err
	}
	return w.save()
}

func (w *wizard) stripeKey(ctx context.Context) error {
	w.say("  Copy a secret key from https://dashboard.stripe.com/test/apikeys.")
	w.say("  Begin with a test key (sk_test_...): it moves no money.")
	err := w.askUntil(
		ctx,
		[]field{{name: "STRIPE_SECRET_KEY", question: "  Secret key", secret: true}},
		"Secret format", "Stripe connection", "Stripe key permissions",
	)
	if err != nil {
		return err
	}
	s, _, err := w.load()
	if err == nil && s.Livemode() {
		w.say("  This is a live key. What init makes now takes real money.")
	}
	return err
}

// stripe returns what creates things at Stripe.
func (w *wizard) stripe() (Config, error) {
	s, _, err := w.load()
	if err != nil {
		return Config{}, err
	}
	return Config{
		Stripe:    w.c.Connect(s).Check.Stripe,
		Livemode:  s.Livemode(),
		PublicURL: s.PublicURL,
		detailed:  true,
	}, nil
}

func (w *wizard) price(ctx context.Context) error {
	w.say("  What a start costs, unless a machine has a price of its own.")
	w.say("  Prices are at https://dashboard.stripe.com/products.")
	for {
		err := w.askField(field{
			name:     "STRIPE_PRICE_ID",
			question: "  Price (price_...; Enter makes one)",
			optional: true,
		})
		if err != nil {
			return err
		}
		present, err := w.current("STRIPE_PRICE_ID")
		if err != nil {
			return err
		}
		if _, why, err := w.load("STRIPE_PRICE_ID"); err != nil {
			return err
		} else if why != "" {
			present = ""
		}
		if present == "" {
			c, err := w.stripe()
			if err != nil {
				return err
			}
			prices, err := c.prices(ctx, w.dialog)
			if err != nil {
				return err
			}
			w.set("STRIPE_PRICE_ID", strings.Join(prices, ","))
		}
		failed, err := w.check(ctx, "Stripe connection", "Test and live mode", "Default price")
		if err != nil {
			return err
		}
		if len(failed) == 0 {
			return w.save()
		}
		w.set("STRIPE_PRICE_ID", "") // the present one is not offered again
		if err := w.save(); err != nil {
			return err
		}
	}
}

func (w *wizard) webhook(ctx context.Context) error {
	c, err := w.stripe()
	if err != nil {
		return err
	}
	secret, err := c.endpoint(ctx, w.dialog)
	if err != nil {
		return err
	}
	if secret != "" {
		w.set("STRIPE_WEBHOOK_SECRET", secret)
		return w.save()
	}
	w.say("  Its signing secret (whsec_...) is at %s, behind Reveal.", check.DashboardWebhooks)
	w.say("  The word off runs without webhooks, if Stripe cannot reach this computer.")
	if err := w.askField(field{name: "STRIPE_WEBHOOK_SECRET", question: "  Signing secret", secret: true}); err != nil {
		return err
	}
	return w.save()
}

func (w *wizard) notehub(ctx context.Context) error {
	w.say("  Open your project at https://notehub.io. Its UID (app:...) is under Settings.")
	if err := w.askField(field{name: "NOTEHUB_PROJECT_UID", question: "  Project UID"}); err != nil {
		return err
	}
	w.say("  An OAuth client is made there under Settings, Programmatic API access.")
	for {
		if err := w.askCredentials(); err != nil {
			return err
		}
		failed, err := w.check(ctx, "Secret format", "Notehub sign-in", "Notehub project", "Notehub devices")
		if err != nil {
			return err
		}
		switch {
		case slices.Contains(failed, "Notehub project"):
			if err := w.askField(field{name: "NOTEHUB_PROJECT_UID", question: "  Project UID"}); err != nil {
				return err
			}
		case slices.Contains(failed, "Notehub devices"):
			w.left = append(w.left, "Connect a Notecard to the project, then run notepay check.")
			return w.save()
		case len(failed) == 0:
			return w.save()
		}
	}
}

// askCredentials asks for an OAuth client, or for a personal access token if there is none.
func (w *wizard) askCredentials() error {
	token, err := w.current("NOTEHUB_TOKEN")
	if err != nil {
		return err
	}
	id, err := w.current("NOTEHUB_CLIENT_ID")
	if err != nil {
		return err
	}
	client := true
	if token == "" && id == "" {
		const question = "  Do you have an OAuth client? No means a personal access token instead."
		if client, err = w.agreesOr(true, question); err != nil {
			return err
		}
	} else if id == "" {
		client = false
	}
	if !client {
		return w.askField(field{name: "NOTEHUB_TOKEN", question: "  Personal access token", secret: true})
	}
	if token != "" { // both would be refused
		w.set("NOTEHUB_TOKEN", "")
	}
	if err := w.askField(field{name: "NOTEHUB_CLIENT_ID", question: "  Client ID"}); err != nil {
		return err
	}
	return w.askField(field{name: "NOTEHUB_CLIENT_SECRET", question: "  Client secret", secret: true})
}

func (w *wizard) machines(ctx context.Context) error {
	w.say("  Firmware that answers each payment makes the money come back if a machine does not start.")
	w.say("  firmware/README.md has a library for it.")
	s, _, err := w.load()
	if err != nil {
		return err
	}
	confirms, err := w.agreesOr(s.ConfirmWithin > 0, "  Do your machines confirm that they started?")
	if err != nil {
		return err
	}
	if !confirms {
		w.set("CONFIRM_WITHIN", "0")
		return w.save()
	}
	_, why, err := w.load("CONFIRM_WITHIN")
	if err != nil {
		return err
	}
	if s.ConfirmWithin == 0 || why != "" {
		w.set("CONFIRM_WITHIN", s.SuggestConfirmWithin())
		w.say("  They have %s to confirm (CONFIRM_WITHIN). Then the money goes back.", s.SuggestConfirmWithin())
	}
	if err := w.save(); err != nil || check.Loopback(s.PublicURL) {
		return err
	}
	return w.route(ctx)
}

// route makes sure that Notehub sends confirmations to notepay at once. Without a route notepay asks
// for them, so a failure is not the end of init.
func (w *wizard) route(ctx context.Context) error {
	s, _, err := w.load()
	if err != nil {
		return err
	}
	if s.NotehubRouteToken == "" {
		token, err := newToken()
		if err != nil {
			return err
		}
		w.set("NOTEHUB_ROUTE_TOKEN", token)
		if s, _, err = w.load(); err != nil {
			return err
		}
	}
	vendors := w.c.Connect(s)
	target := s.PublicURL + "/webhook/notehub"
	c := vendors.Check
	c.Only = []string{"Notehub sign-in", "Confirmation route"}
	results := check.Run(ctx, c)
	switch found := results[len(results)-1]; {
	case found.State == check.OK && len(w.answers) > 0: // it was made with another token
		clear(w.answers)
		w.say("  A route leads to %s already.", target)
		const question = "  Its secret, which follows Bearer in its header (Enter: notepay asks instead)"
		err := w.askField(field{name: "NOTEHUB_ROUTE_TOKEN", question: question, secret: true, optional: true})
		if err != nil {
			return err
		}
		return w.save()
	case found.State == check.OK:
		w.say("  ok      %s: %s", found.Name, found.Detail)
		return nil
	case found.State == check.Skipped:
		w.left = append(w.left,
			fmt.Sprintf("Notehub's routes could not be read (%s). Run notepay init again.", found.Detail))
		clear(w.answers)
		return nil
	}
	// The token is on disk before the route exists, so that a route with an unknown token cannot be.
	if err := w.save(); err != nil {
		return err
	}
	err = vendors.Routes.CreateRoute(ctx, "notepay confirmations", target, string(s.NotehubRouteToken))
	if upstream.OutcomeOf(err) != upstream.OK {
		w.say("  Notehub did not make the route: %s", check.Explain(err))
		w.left = append(w.left, "Make a General HTTP/HTTPS route for payment_ack.qo to "+target+" in Notehub,\n"+
			"    with the header Authorization: Bearer and the value of NOTEHUB_ROUTE_TOKEN.\n"+
			"    Until it works, remove that setting.")
		return errors.Join(ctx.Err(), w.err)
	}
	w.say("  Route    to %s was created in Notehub.", target)
	return w.err
}
