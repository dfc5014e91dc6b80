package console

import (
	"net/url"
	"regexp"
	"slices"
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
		{Key: "failed", Text: "did not start, or not known", Machine: []payment.DeliveryStatus{payment.Failed}},
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
	Key                   string   // id of one payment or event
	Device                string   // name of the device, if one was found
	Email                 string   // an address to look up at Stripe
	Read                  []string // how the words were read
	Ignored               []string // words that were left out

	lang lang // of Read
}

// maxDevices bounds the devices that a part of a name can match.
const maxDevices = 50

const dayLayout = "2006-01-02"

// readSearch parses a search. It recognizes an id, an e-mail address, a day, a time of day, the last
// four digits of a card and an amount. The rest of the text is the name of a device.
func readSearch(l lang, q url.Values, named func(text string) []entry, zone *time.Location, now time.Time) (
	w searchQuery, problem string,
) {
	w.lang = l
	w.Text, w.State, w.From, w.To = strings.TrimSpace(q.Get("q")), q.Get("state"), q.Get("from"), q.Get("to")
	w.Search.Cursor = q.Get("cursor")
	for _, s := range states() {
		if s.Key == w.State {
			w.Search.Delivery, w.Search.Funds = s.Machine, s.Money
			if s.Attention {
				w.Search.Attention = new(true)
			}
			w.read("state {what}", "what", l.T(s.Text))
		}
	}
	day := func(text string, after int) (t time.Time) {
		if text == "" {
			return t
		}
		t, err := time.ParseInLocation(dayLayout, text, zone)
		if err != nil {
			problem = "Enter days as in 2026-11-21."
			return time.Time{}
		}
		return t.AddDate(0, 0, after)
	}
	w.Search.From, w.Search.To = day(w.From, 0), day(w.To, 1)
	fields := searchWords(w.Text)
	name, fields := exactName(fields, named)
	rest, clock := w.readWords(fields, named, zone, now)
	if len(name) > 0 {
		w.device(strings.Join(name, " "), named)
		w.leaveOut(withoutFillers(rest))
	} else if len(rest) > 0 {
		w.readName(rest, named)
	}
	if clock != nil && !w.at(*clock, zone, now) {
		problem = "A time of day needs one day. Choose the same day twice, or none."
	}
	w.readTimes(zone)
	return w, problem
}

// readWords recognizes everything but names. It returns the other words, and the time of day if there
// is one.
func (w *searchQuery) readWords(
	fields []string,
	named func(text string) []entry,
	zone *time.Location,
	now time.Time,
) (rest []string, clock *time.Duration) {
	for i := 0; i < len(fields); i++ {
		field := fields[i]
		if from, used := readDate(fields[i:], zone, now); used > 0 {
			w.Search.From, w.Search.To = from, from.AddDate(0, 0, 1)
			i += used - 1
		} else if from, isDay := readDay(field, zone, now); isDay {
			w.Search.From, w.Search.To = from, from.AddDate(0, 0, 1)
		} else if from, isDay := w.lang.readSlashedDay(field, zone, now); isDay && len(named(field)) == 0 {
			w.Search.From, w.Search.To = from, from.AddDate(0, 0, 1) // "2/3" may also be in the name of a machine
		} else if at, used := readClock(field, next(fields, i)); used > 0 {
			clock = &at
			i += used - 1
		} else if reference.MatchString(field) {
			w.Key = field
		} else if emailAddress.MatchString(field) {
			w.Email = field
			w.read("e-mail address {what}", "what", field)
		} else if lastFour.MatchString(field) {
			w.Search.Card = field
			w.read("card ending in {what}", "what", field)
		} else if amount, currency, used := readAmount(field, next(fields, i)); used > 0 {
			w.Search.Amount, w.Search.Currency = &amount, currency
			shown := field
			if currency != "" {
				shown = w.lang.money(amount, currency)
			}
			w.read("amount {what}", "what", shown)
			i += used - 1
		} else {
			rest = append(rest, field)
		}
	}
	return rest, clock
}

// read notes how words were read.
func (w *searchQuery) read(text string, values ...string) {
	w.Read = append(w.Read, w.lang.T(text, values...))
}

// leaveOut notes words that the search does not use.
func (w *searchQuery) leaveOut(words []string) { w.Ignored = append(w.Ignored, words...) }

// searchWords splits a search at spaces and commas. The comma of an amount splits nothing.
func searchWords(text string) (words []string) {
	for field := range strings.FieldsSeq(strings.ReplaceAll(text, ";", " ")) {
		field = strings.Trim(field, ",")
		bare := strings.Trim(field, "€$£")
		if strings.Contains(field, ",") && !figure.MatchString(bare) {
			for part := range strings.SplitSeq(field, ",") {
				if part != "" {
					words = append(words, part)
				}
			}
		} else if field != "" {
			words = append(words, field)
		}
	}
	return words
}

// next returns the field behind i, or "".
func next(fields []string, i int) string {
	if i+1 < len(fields) {
		return fields[i+1]
	}
	return ""
}

// maxNameWords bounds the words of a name that are looked up together, because each look-up reads the
// names of all devices.
const maxNameWords = 6

// exactName returns the longest run of two or more words that is the name of a device, and the other
// words. So "Locker 4242" is a machine and no card.
func exactName(fields []string, named func(text string) []entry) (name, others []string) {
	for n := min(len(fields), maxNameWords); n > 1; n-- {
		for i := 0; i+n <= len(fields) && i < maxNameWords; i++ {
			text := strings.Join(fields[i:i+n], " ")
			if slices.ContainsFunc(named(text), func(d entry) bool { return strings.EqualFold(d.Name, text) }) {
				return fields[i : i+n], slices.Concat(fields[:i], fields[i+n:])
			}
		}
	}
	return nil, fields
}

// readName reads words as the name of a device. Words that say nothing, such as "card", do not count if
// the name is not known with them. If one part of the words names one device, the others are left out,
// unless they have digits: "Dryer 7" is not "Dryer 12".
func (w *searchQuery) readName(words []string, named func(text string) []entry) {
	if len(named(strings.Join(words, " "))) > 0 {
		w.device(strings.Join(words, " "), named)
		return
	}
	if words = withoutFillers(words); len(words) == 0 {
		return
	}
	for n := min(len(words), maxNameWords); n > 0; n-- {
		for i := 0; i+n <= len(words) && i < maxNameWords; i++ {
			text, others := strings.Join(words[i:i+n], " "), slices.Concat(words[:i], words[i+n:])
			if strings.ContainsAny(strings.Join(others, ""), "0123456789") {
				continue
			}
			if list := named(text); len(list) == 1 || len(list) > 0 && len(others) == 0 {
				w.device(text, named)
				w.leaveOut(others)
				return
			}
		}
	}
	w.device(strings.Join(words, " "), named)
}

// withoutFillers returns the words without those that people say around a fact.
func withoutFillers(words []string) []string {
	return slices.DeleteFunc(slices.Clone(words), isFiller)
}

// isFiller reports whether people say a word around a fact, in English or German.
func isFiller(word string) bool {
	switch strings.ToLower(strings.ReplaceAll(strings.Trim(word, ".:!?"), "’", "'")) {
	case "a", "about", "all", "an", "and", "around", "at", "but", "by", "called", "calls", "card", "card's",
		"charged", "customer", "did", "didn't", "digits", "ended", "ending", "ends", "for", "four", "from",
		"has", "in", "is", "it", "last", "machine", "my", "no", "not", "of", "on", "paid", "said", "says",
		"start", "started", "the", "this", "to", "was", "were", "with",
		"am", "auf", "bei", "bezahlt", "das", "dem", "den", "der", "die", "ein", "eine", "einer", "endet", "etwa",
		"für", "gegen", "gestartet", "hat", "im", "ist", "karte", "maschine", "mit", "nicht", "startete", "uhr",
		"um", "und", "ungefähr", "von", "vom", "war", "wurde":
		return true
	}
	return false
}

// device searches for the devices that a text may mean. If no device has that name now, it searches
// for payments of a device that had it then.
func (w *searchQuery) device(text string, named func(text string) []entry) {
	list := named(text)
	if len(list) == 0 || len(list) > maxDevices {
		w.Search.Name = text
		w.read("machine whose name was or contained “{what}”", "what", text)
		return
	}
	// Without devices with longer names. Several devices may have the same one.
	same := slices.DeleteFunc(slices.Clone(list), func(d entry) bool {
		return d.UID != strings.ToLower(text) && !d.isCalled(text)
	})
	if len(same) > 0 {
		list = same
	}
	for _, d := range list {
		w.Search.Devices = append(w.Search.Devices, d.UID)
	}
	if len(list) == 1 {
		w.Device = list[0].Name
		w.read("machine {what}", "what", w.Device)
		return
	}
	w.read("{n} machines with “{what}” in their names", "n", strconv.Itoa(len(list)), "what", text)
}

var (
	reference    = regexp.MustCompile(`^(cr_|cs_|pi_|start_|evt_)\w+$`)
	emailAddress = regexp.MustCompile(`^[^@\s]+@[^@\s]+\.[^@\s]+$`)
	lastFour     = regexp.MustCompile(`^[0-9]{4}$`)
	figure       = regexp.MustCompile(`^([0-9]{1,12})(?:[.,]([0-9]{1,3}))?$`)
	isoCode      = regexp.MustCompile(`^[A-Za-z]{3}$`)
)

// symbols returns the currency of each symbol, "" for several currencies.
func symbols() map[string]string { return map[string]string{"€": "eur", "$": "", "£": "gbp"} }

// currencyOf returns the currency that a word behind an amount means, "" for several currencies. After a
// whole number, a code counts only in capitals.
func currencyOf(word string, whole bool) (currency string, known bool) {
	if currency, known = symbols()[word]; known {
		return currency, true
	}
	switch strings.ToLower(word) {
	case "euro", "euros":
		return "eur", true
	case "franken":
		return "chf", true
	}
	if !isoCode.MatchString(word) || isFiller(word) || whole && strings.ToUpper(word) != word {
		return "", false
	}
	return strings.ToLower(word), true
}

// readAmount parses an amount: "3.50", "3,50", "€3.50", "3.50 EUR", "3,50 Euro". A whole number is an amount
// only with a currency, because it is more likely a part of a name. used is the number of fields that the
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
	if code, known := currencyOf(following, match[2] == ""); known && !told {
		currency, told, used = code, true, 2
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
