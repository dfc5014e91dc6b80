package demo

import (
	"net/http"
	"regexp"
	"strings"
	"time"
)

// sentence describes a request in plain words. {machine}, {event}, {answer} and {note} are replaced
// by what the request names.
type sentence struct {
	from, to, text string
	quiet          bool // dimmed on the page
	scan           bool // the request is a customer's scan
}

// ServeHTTP does nothing. It makes a sentence a handler, so that a ServeMux can find it.
func (sentence) ServeHTTP(http.ResponseWriter, *http.Request) {}

// table returns a mux of sentences by pattern. The pattern "/" matches any other request.
func table(sentences map[string]sentence) *http.ServeMux {
	mux := http.NewServeMux()
	for pattern, s := range sentences {
		mux.Handle(pattern, s)
	}
	return mux
}

func sentenceFor(known *http.ServeMux, r *http.Request) sentence {
	found, _ := known.Handler(r)
	s, ok := found.(sentence)
	if !ok { // the mux's own redirect or error
		s = sentence{from: "phone", to: "notepay", text: "asks for something unknown"}
	}
	return s
}

// toNotepay returns the sentences of requests to notepay.
func toNotepay() *http.ServeMux {
	phone := func(text string) sentence { return sentence{from: "phone", to: "notepay", text: text} }
	operator := func(text string) sentence { return sentence{from: "operator", to: "notepay", text: text, quiet: true} }
	scanned := sentence{from: "phone", to: "notepay", text: "scans the sticker of {machine}", scan: true}
	webhook := sentence{from: "Stripe", to: "notepay", text: "sends the webhook {event}"}
	confirmation := sentence{from: "Notehub", to: "notepay", text: "passes on the answer of {machine} {answer}"}
	live := phone("follows its payment live")
	live.quiet = true
	other := phone("asks for a page or a file")
	other.quiet = true
	return table(map[string]sentence{
		"GET /pay":                     scanned,
		"GET /pay/{uid}":               scanned,
		"GET /use/{uid}":               phone("views the programs of {machine}"),
		"POST /use/{uid}":              phone("chooses a program of {machine}"),
		"GET /payment/success":         phone("returns from the checkout"),
		"GET /payment/cancel":          phone("returns without paying"),
		"GET /session/{token}":         phone("opens its payment's page"),
		"GET /access/{token}":          phone("opens its access code"),
		"GET /session/{token}/events":  live,
		"GET /access/{token}/events":   live,
		"POST /webhook/stripe":         webhook,
		"POST /api/stripe/webhook":     webhook,
		"POST /api/webhook":            webhook,
		"POST /webhook/notehub":        confirmation,
		"GET /{$}":                     phone("opens the page to type a machine's code"),
		"GET /health":                  operator("checks the health"),
		"GET /metrics":                 operator("reads the metrics"),
		"/refresh-devices":             operator("refreshes the devices"),
		"/api/":                        operator("uses the API"),
		"/operator/":                   operator("uses the console"),
		"POST /api/payments/{id}/{do}": {from: "operator", to: "notepay", text: "changes a payment"},
		"/":                            other,
	})
}

// toStripe returns the sentences of requests to Stripe's API and hosted checkout.
func toStripe() *http.ServeMux {
	say := func(text string) sentence { return sentence{from: "notepay", to: "Stripe", text: text} }
	quiet := func(text string) sentence { return sentence{from: "notepay", to: "Stripe", text: text, quiet: true} }
	phone := func(text string) sentence { return sentence{from: "phone", to: "Stripe", text: text} }
	return table(map[string]sentence{
		"POST /v1/payment_links":                 say("creates the Payment Link of {machine}"),
		"POST /v1/payment_links/{id}":            say("changes a Payment Link of {machine}"),
		"GET /v1/payment_links":                  quiet("reads the Payment Links"),
		"GET /v1/payment_links/{id}":             quiet("reads a Payment Link"),
		"GET /v1/payment_links/{id}/line_items":  quiet("reads what a Payment Link sells"),
		"GET /v1/prices/{id}":                    quiet("reads a price"),
		"POST /v1/checkout/sessions":             say("creates a checkout for {machine}"),
		"GET /v1/checkout/sessions":              quiet("looks for missed payments"),
		"GET /v1/checkout/sessions/{id}":         say("reads one payment at {machine}"),
		"POST /v1/checkout/sessions/{id}/expire": say("closes a checkout of {machine}"),
		"POST /v1/refunds":                       say("refunds the money"),
		"GET /v1/refunds":                        say("checks the refund"),
		"GET /v1/refunds/{id}":                   say("checks the refund"),
		"GET /v1/payment_intents/{id}":           say("checks the payment"),
		"POST /v1/payment_intents/{id}/capture":  say("charges the held money"),
		"POST /v1/payment_intents/{id}/cancel":   say("releases the hold"),
		"GET /v1/events":                         quiet("reads events that did not arrive"),
		"GET /c/{link}":                          phone("opens the checkout of {machine}"),
		"GET /c/pay/{session}":                   phone("views the checkout"),
		"POST /c/pay/{session}":                  phone("presses Pay"),
		"/":                                      quiet("sends Stripe another request"),
	})
}

// toNotehub returns the sentences of requests to Notehub's API.
func toNotehub() *http.ServeMux {
	say := func(text string) sentence { return sentence{from: "notepay", to: "Notehub", text: text} }
	quiet := func(text string) sentence { return sentence{from: "notepay", to: "Notehub", text: text, quiet: true} }
	const devices = "/v1/projects/{project}/devices"
	return table(map[string]sentence{
		"POST /oauth2/token":                                  quiet("gets an access token"),
		"GET " + devices:                                      quiet("lists the machines"),
		"GET " + devices + "/{device}":                        quiet("asks about {machine}"),
		"GET " + devices + "/{device}/environment_variables":  quiet("reads the settings of {machine}"),
		"POST " + devices + "/{device}/notes/{file}":          say("leaves a note for {machine} {note}"),
		"GET " + devices + "/{device}/notes/{file}":           say("checks whether the note for {machine} is waiting"),
		"GET " + devices + "/{device}/files":                  say("checks whether the note for {machine} is waiting"),
		"DELETE " + devices + "/{device}/notes/{file}/{note}": say("recalls the note for {machine}"),
		"POST " + devices + "/{device}/signal":                quiet("checks the connection of {machine}"),
		"GET /v1/projects/{project}/events-cursor":            quiet("reads the machines' answers"),
		"GET /v1/projects/{project}/environment_variables":    quiet("reads the project's settings"),
		"GET /v1/projects/{project}/fleets":                   quiet("lists the fleets"),
		"GET /v1/projects/{project}/fleets/{fleet}/{listing}": quiet("reads a fleet"),
		"/": quiet("sends Notehub another request"),
	})
}

// Patterns that find names in an address, a form, a page or JSON.
var (
	deviceUID = regexp.MustCompile(`dev:\d{15}`)
	eventType = regexp.MustCompile(`"type":\s*"([a-z_]+\.[a-z_.]+)"`)
	answered  = regexp.MustCompile(`"state":\s*"([a-z]+)"`) // a machine's answer
	noteWord  = regexp.MustCompile(`"payment_status":\s*"(refunded|ended)"`)
)

// words completes a sentence with the names in the address and, once they are known, in the bodies.
func (d *Demo) words(text, address, bodies string) string {
	name := "a machine"
	if m := d.machineNamed(address, bodies); m != nil {
		name = m.name
	}
	first := func(pattern *regexp.Regexp, before string) string {
		if found := pattern.FindStringSubmatch(bodies); found != nil {
			return before + found[1]
		}
		return ""
	}
	text = strings.NewReplacer("{machine}", name, "{event}", first(eventType, ""), " {answer}", first(answered, ": "),
		" {note}", first(noteWord, ": ")).
		Replace(text)
	return strings.TrimSpace(text)
}

// machineNamed returns the machine named in the first text that names one, or nil.
func (d *Demo) machineNamed(texts ...string) *machine {
	for _, text := range texts {
		uid := deviceUID.FindString(strings.NewReplacer("%3A", ":", "%3a", ":").Replace(text))
		for _, m := range d.machines {
			if m.uid == uid {
				return m
			}
		}
	}
	return nil
}

// scan remembers the latest scan.
func (d *Demo) scan(address string) {
	if m := d.machineNamed(address); m != nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.scanned = scan{m.uid, time.Now()}
	}
}
