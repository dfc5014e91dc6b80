package api

import (
	"net/http"
	"time"

	"notepay/internal/fleet"
)

// device is a device in an answer.
type device struct {
	UID          string       `json:"uid"`
	Name         string       `json:"name"`
	State        string       `json:"state"` // "open", or why it does not sell
	Reason       string       `json:"reason"`
	Until        *time.Time   `json:"until"` // end of the current use
	Paused       *pause       `json:"paused"`
	Out          *out         `json:"out_of_order,omitempty"`
	LastActivity *time.Time   `json:"last_activity"`
	Plans        []devicePlan `json:"plans"`
	PriceFrom    string       `json:"price_from"` // "device", "fleet", "project", "default"
	Problems     []string     `json:"problems"`
}

type pause struct {
	Reason    string    `json:"reason"`
	By        string    `json:"by"`
	At        time.Time `json:"at"`
	Automatic bool      `json:"automatic"`
}

// out holds the code of a machine that says that it is out of order.
type out struct {
	Code string    `json:"code"`
	At   time.Time `json:"at"`
}

type devicePlan struct {
	PriceID  string `json:"price_id"`
	Name     string `json:"name"`
	Amount   int64  `json:"amount"`
	Currency string `json:"currency"`
	Duration int64  `json:"duration_s"`
	Pulses   int64  `json:"pulses,omitempty"`
	Output   int64  `json:"output,omitempty"`
	URL      string `json:"url"` // of the Payment Link, "" until it exists
}

// shownDevice returns the device of an answer.
func shownDevice(l fleet.Listed) device {
	d := device{
		UID:          l.UID,
		Name:         l.Name,
		State:        string(l.State),
		Reason:       l.Reason,
		Until:        optional(l.Until),
		LastActivity: optional(l.LastActivity),
		PriceFrom:    string(l.Source),
		Plans:        []devicePlan{},
		Problems:     []string{},
	}
	for _, p := range l.Problems {
		d.Problems = append(d.Problems, p.String())
	}
	if l.Pause != nil {
		d.Paused = &pause{l.Pause.Reason, l.Pause.By, l.Pause.At, l.Pause.Automatic}
	}
	if l.Out != nil {
		d.Out = &out{l.Out.Code, l.Out.At}
	}
	for _, o := range l.Plans {
		d.Plans = append(d.Plans, devicePlan{
			PriceID:  o.Plan.PriceID,
			Name:     o.Plan.Name,
			Amount:   o.Plan.Amount,
			Currency: o.Plan.Currency,
			Duration: int64(o.Plan.Duration / time.Second),
			Pulses:   o.Plan.Pulses,
			Output:   o.Plan.Output,
			URL:      o.URL,
		})
	}
	return d
}

// Devices answers with all devices.
func (h *Handler) Devices(w http.ResponseWriter, _ *http.Request) error {
	out := struct {
		Devices []device `json:"devices"`
	}{[]device{}}
	for _, l := range h.Fleet.List() {
		out.Devices = append(out.Devices, shownDevice(l))
	}
	return WriteJSON(w, http.StatusOK, out)
}

// device answers with one device.
func (h *Handler) device(w http.ResponseWriter, uid string) error {
	d := h.Fleet.Device(uid)
	if d == nil {
		return errNoDevice
	}
	return WriteJSON(w, http.StatusOK, shownDevice(h.Fleet.Listed(d)[0]))
}
