package check

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stripe/stripe-go/v82"

	"notepay/internal/stripeapi"
)

// stripeCommands returns docs/stripe-cli.md with the shell's line continuations joined.
func stripeCommands(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/stripe-cli.md")
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(text), "\\\n", "")
}

// TestReadmeEndpoint checks that an endpoint of the documented command passes Endpoint.
func TestReadmeEndpoint(t *testing.T) {
	t.Parallel()
	command := regexp.MustCompile(`(?m)^stripe webhook_endpoints create.*$`).FindString(stripeCommands(t))
	e := &stripe.WebhookEndpoint{ID: "we_1", Status: "enabled"}
	for _, given := range regexp.MustCompile(`enabled_events\[\]=([^"]+)`).FindAllStringSubmatch(command, -1) {
		e.EnabledEvents = append(e.EnabledEvents, given[1])
	}
	if got := Endpoint(e); got.State != OK {
		t.Errorf("the endpoint that the command creates: %s", got.Detail)
	}
	if extra := without(e.EnabledEvents, stripeapi.EventTypes()); len(extra) > 0 {
		t.Errorf("the command's endpoint sends events that are not used: %v", extra)
	}
	url := regexp.MustCompile(`--url="https://pay\.example\.com([^"]+)"`).FindStringSubmatch(command)
	if url == nil || !slices.Contains(WebhookPaths(), url[1]) {
		t.Errorf("the command's endpoint has address %q", url)
	}
	version := regexp.MustCompile(`--api-version=(\S+)`).FindStringSubmatch(command)
	if version == nil || train(version[1]) != train(stripe.APIVersion) {
		t.Errorf("the command's endpoint has version %q; want %s", version, stripe.APIVersion)
	}
}

// TestReadmeListen checks that `stripe listen` forwards the events that an endpoint would send.
func TestReadmeListen(t *testing.T) {
	t.Parallel()
	events := regexp.MustCompile(`(?m)^stripe listen .*--events (\S+)`).FindStringSubmatch(stripeCommands(t))
	if events == nil {
		t.Fatal("the README has no stripe listen line")
	}
	listed := strings.Split(events[1], ",")
	missing, extra := without(stripeapi.EventTypes(), listed), without(listed, stripeapi.EventTypes())
	if len(missing)+len(extra) > 0 {
		t.Errorf("stripe listen lacks %v and adds %v", missing, extra)
	}
}

// without returns the elements of list that are not in others.
func without(list, others []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(others, s) })
}
