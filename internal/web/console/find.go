package console

import (
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/web"
)

// state is a filter of payments by their state.
type state struct {
	Key, Text string
	Machine   []payment.DeliveryStatus
	Money     []payment.FundsStatus
	Attention bool
}

// states returns the filters in the order of the page.
func states() []state {
	return []state{
		{Key: "attention", Text: "needs attention", Attention: true},
		{
			Key:     "waiting",
			Text:    "waiting for the machine",
			Machine: []payment.DeliveryStatus{payment.Queued, payment.Sent},
		},
		{Key: "started", Text: "started", Machine: []payment.DeliveryStatus{payment.Started, payment.Done}},
		{Key: "fetched", Text: "received by the machine", Machine: []payment.DeliveryStatus{payment.Fetched}},
		{Key: "failed", Text: "did not start", Machine: []payment.DeliveryStatus{payment.Failed}},
		{
			Key:   "back",
			Text:  "refunded or released",
			Money: []payment.FundsStatus{payment.Refunding, payment.Refunded, payment.Canceling, payment.Canceled},
		},
		{Key: "refund_failed", Text: "refund failed", Money: []payment.FundsStatus{payment.RefundFailed}},
		{Key: "held", Text: "held, not charged", Money: []payment.FundsStatus{payment.Authorized, payment.Capturing}},
		{Key: "disputed", Text: "disputed", Money: []payment.FundsStatus{payment.Disputed, payment.DisputeLost}},
	}
}

// searchQuery is a parsed search.
type searchQuery struct {
	Text, State, From, To string // as typed
	Search                ledger.Filter
	Key                   string // id of one payment or event
	Device                string // name of the device, if one was found
}

// maxDevices bounds the devices that a part of a name can match.
const maxDevices = 50

const dayLayout = "2006-01-02"

// readSearch parses a search. It recognizes an id, a day, the last four digits of a card and an
// amount. The rest of the text is the name of a device.
func readSearch(q url.Values, named func(text string) []entry, zone *time.Location) (w searchQuery, problem string) {
	w.Text, w.State, w.From, w.To = strings.TrimSpace(q.Get("q")), q.Get("state"), q.Get("from"), q.Get("to")
	w.Search.Cursor = q.Get("cursor")
	for _, s := range states() {
		if s.Key == w.State {
			w.Search.Delivery, w.Search.Funds = s.Machine, s.Money
			if s.Attention {
				w.Search.Attention = new(true)
			}
		}
	}
	day := func(text string, after int) (time.Time, bool) {
		t, err := time.ParseInLocation(dayLayout, text, zone)
		return t.AddDate(0, 0, after), err == nil
	}
	var ok bool
	if w.From != "" {
		if w.Search.From, ok = day(w.From, 0); !ok {
			problem = "Enter days as in 2026-11-21."
		}
	}
	if w.To != "" {
		if w.Search.To, ok = day(w.To, 1); !ok {
			problem = "Enter days as in 2026-11-21."
		}
	}
	var rest []string
	fields := strings.Fields(w.Text)
	for i := 0; i < len(fields); i++ {
		field := fields[i]
		if from, isDay := day(field, 0); isDay {
			w.Search.From, w.Search.To = from, from.AddDate(0, 0, 1)
		} else if reference.MatchString(field) {
			w.Key = field
		} else if lastFour.MatchString(field) {
			w.Search.Card = field
		} else if amount, currency, used := readAmount(field, next(fields, i)); used > 0 {
			w.Search.Amount, w.Search.Currency = &amount, currency
			i += used - 1
		} else {
			rest = append(rest, field)
		}
	}
	if len(rest) > 0 {
		text := strings.Join(rest, " ")
		w.device(text, named(text))
	}
	return w, problem
}

// next returns the field behind i, or "".
func next(fields []string, i int) string {
	if i+1 < len(fields) {
		return fields[i+1]
	}
	return ""
}

// device searches for the devices that a text may mean. If no device has that name now, it searches
// for payments of a device that had it then.
func (w *searchQuery) device(text string, list []entry) {
	if len(list) == 0 || len(list) > maxDevices {
		w.Search.Name = text
		return
	}
	for _, d := range list {
		if d.UID == strings.ToLower(text) || strings.EqualFold(d.Name, text) {
			list = []entry{d} // without devices with longer names
			break
		}
	}
	for _, d := range list {
		w.Search.Devices = append(w.Search.Devices, d.UID)
	}
	if len(list) == 1 {
		w.Device = list[0].Name
	}
}

var (
	reference = regexp.MustCompile(`^(cr_|cs_|pi_|start_|evt_)\w+$`)
	lastFour  = regexp.MustCompile(`^[0-9]{4}$`)
	figure    = regexp.MustCompile(`^([0-9]{1,12})(?:[.,]([0-9]{1,3}))?$`)
	isoCode   = regexp.MustCompile(`^[A-Za-z]{3}$`)
)

// symbols returns the currency of each symbol, "" for several currencies.
func symbols() map[string]string { return map[string]string{"€": "eur", "$": "", "£": "gbp"} }

// readAmount parses an amount: "3.50", "3,50", "€3.50", "3.50 EUR". A whole number is an amount only
// with a currency, because it is more likely a part of a name. used is the number of fields that the
// amount takes, 0 if there is none. currency is "" if unknown.
func readAmount(field, following string) (minor int64, currency string, used int) {
	used, told := 1, false
	for sign, code := range symbols() {
		if bare := strings.Trim(field, sign); bare != field {
			field, currency, told = bare, code, true
		}
	}
	match := figure.FindStringSubmatch(field)
	if match == nil {
		return 0, "", 0
	}
	if isoCode.MatchString(following) && !told && (match[2] != "" || strings.ToUpper(following) == following) {
		currency, told, used = strings.ToLower(following), true, 2
	}
	if match[2] == "" && !told {
		return 0, "", 0
	}
	digits := len(match[2])
	if currency != "" {
		digits = web.Digits(currency)
	} else if digits < 2 {
		digits = 2
	}
	minor, ok := toMinor(match[1], match[2], digits)
	if !ok {
		return 0, "", 0
	}
	return minor, currency, used
}

// parseAmount parses an amount of a known currency, in minor units.
func parseAmount(text, currency string) (minor int64, ok bool) {
	match := figure.FindStringSubmatch(strings.TrimSpace(text))
	if match == nil {
		return 0, false
	}
	return toMinor(match[1], match[2], web.Digits(currency))
}

// toMinor joins the digits before and behind the decimal point.
func toMinor(whole, part string, digits int) (int64, bool) {
	if len(part) > digits {
		return 0, false
	}
	n, err := strconv.ParseInt(whole+part+strings.Repeat("0", digits-len(part)), 10, 64)
	return n, err == nil
}
