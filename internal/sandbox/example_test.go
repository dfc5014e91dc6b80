package sandbox_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"notepay/internal/sandbox"
)

const (
	machineUID = "dev:864475044215258"
	projectUID = "app:00000000-1111-4000-8000-000000000000"
)

// A customer pays at the simulated Stripe, and the program under test receives the webhook. The
// program posts a note to the simulated Notehub. A simulated machine fetches the note and starts.
func Example() {
	stripe := sandbox.NewStripe(sandbox.StripeConfig{})
	defer stripe.Close()
	notehub := sandbox.NewNotehub(sandbox.NotehubConfig{Token: "token", Project: projectUID})
	notehub.AddDevice(sandbox.Device{UID: machineUID, Name: "Washer 3"})
	machine := sandbox.NewMachine(notehub, sandbox.MachineConfig{Device: machineUID, Confirms: true})
	api := httptest.NewServer(notehub)
	defer api.Close()

	// This handler takes the place of notepay.
	noted := make(chan struct{})
	program := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var event struct {
			Type string
			Data struct {
				Object struct{ Metadata map[string]string }
			}
		}
		_ = json.NewDecoder(r.Body).Decode(&event)
		if event.Type != "checkout.session.completed" {
			return
		}
		defer close(noted)
		url := api.URL + "/v1/projects/" + projectUID + "/devices/" + event.Data.Object.Metadata["device_uid"] +
			"/notes/payment.qi"
		note, err := http.NewRequest(http.MethodPost, url,
			strings.NewReader(`{"body":{"payment_status":"completed","credit_id":"cr_1"}}`))
		if err != nil {
			return
		}
		note.Header.Set("Authorization", "Bearer token")
		note.Header.Set("Content-Type", "application/json")
		if answer, err := http.DefaultClient.Do(note); err == nil {
			_ = answer.Body.Close()
		}
	}))
	defer program.Close()
	stripe.SetEndpoint(program.URL, "whsec_secret")

	stripe.AddPrice(sandbox.Price{ID: "price_wash", Name: "Wash", Amount: 350, Currency: "eur", Active: true})
	link := stripe.AddLink(sandbox.Link{PriceID: "price_wash", DeviceUID: machineUID, Active: true})
	session, err := stripe.Pay(link.ID, sandbox.PayOptions{})
	fmt.Println("session:", session.PaymentStatus, session.Amount, session.Currency, err)
	<-noted

	for _, note := range notehub.Pending(machineUID, "payment.qi") {
		fmt.Println("note:", note.Body["payment_status"], note.Body["credit_id"])
	}
	machine.Step()
	fmt.Println("starts:", len(machine.Starts()))
	for _, answer := range notehub.Answers(machineUID) {
		fmt.Println("answer:", answer.Body["state"])
	}
	// Output:
	// session: paid 350 eur <nil>
	// note: completed cr_1
	// starts: 1
	// answer: started
}

// A script rejects the first request, and breaks the connection after the second one took effect.
func ExampleScript() {
	stripe := sandbox.NewStripe(sandbox.StripeConfig{})
	defer stripe.Close()
	server := httptest.NewServer(stripe)
	defer server.Close()
	create := func() string {
		r, err := http.NewRequest(http.MethodPost, server.URL+"/v1/products", strings.NewReader("name=Wash"))
		if err != nil {
			return err.Error()
		}
		r.Header.Set("Authorization", "Bearer sk_test_key")
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			return "no response"
		}
		_ = answer.Body.Close()
		return answer.Status
	}

	stripe.Next("POST /v1/products",
		sandbox.Outcome{Status: http.StatusTooManyRequests}, // rejected, without effect
		sandbox.Outcome{Applied: true})                      // applied, and the response is lost
	fmt.Println(create())
	fmt.Println(create())
	fmt.Println(create())
	for _, r := range stripe.Requests("POST /v1/products") {
		fmt.Println(r.Status, r.Applied)
	}
	// Output:
	// 429 Too Many Requests
	// no response
	// 200 OK
	// 429 false
	// 0 true
	// 200 true
}
