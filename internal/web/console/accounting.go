package console

import (
	"bufio"
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/web"
)

// fileLayout writes movements for one kind of program. It leaves out what the program cannot take.
type fileLayout struct {
	file  string
	begin func(out *bufio.Writer)
	row   func(out *bufio.Writer, m ledger.Movement)
}

// revenueCSV exports the movements of a time, one in a row, oldest first.
func (c *Console) revenueCSV(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	from, to, problem := revenueDays(q.Get("from"), q.Get("to"), c.Zone)
	var l fileLayout
	if problem == "" {
		l, problem = c.fileLayout(q, from, to)
	}
	if problem != "" {
		return c.problem(w, r, http.StatusBadRequest, problem)
	}
	page := ledger.MovementPage{From: from, Until: to.AddDate(0, 0, 1), Livemode: !c.Test}
	list, page, done, err := c.Ledger.Movements(r.Context(), page, exportBatch)
	if err != nil {
		return err // before the answer begins
	}
	out := startFile(w, l.file+"-"+from.Format(dayLayout)+"-"+to.Format(dayLayout)+".csv")
	l.begin(out)
	for {
		for _, m := range list {
			if m.Amount != 0 {
				l.row(out, m)
			}
		}
		if done {
			return out.Flush()
		}
		if list, page, done, err = c.Ledger.Movements(r.Context(), page, exportBatch); err != nil {
			return err
		}
	}
}

// fileLayout returns the layout that a form asks for.
func (c *Console) fileLayout(q url.Values, from, to time.Time) (l fileLayout, problem string) {
	switch q.Get("layout") {
	case "", "all":
		return c.movementsLayout(false), ""
	case semicolonLayout:
		return c.movementsLayout(true), ""
	case "quickbooks":
		currency := strings.ToLower(strings.TrimSpace(q.Get("currency")))
		if currency == "" {
			return l, "Choose a currency. QuickBooks takes one in a file."
		}
		return c.quickBooksLayout(currency), ""
	case "datev":
		return c.datevLayout(q, from, to)
	}
	return l, "There is no such layout."
}

// movementsLayout has every column. docs/reference.md describes them.
func (c *Console) movementsLayout(semicolon bool) fileLayout {
	write := func(out *bufio.Writer, cells ...string) { _ = (&table{out, semicolon}).Write(cells) }
	return fileLayout{
		file: "movements",
		begin: func(out *bufio.Writer) {
			write(out, "time", "day", "kind", "amount", "currency", "reason", "reference", "session", "payment intent",
				"balance transaction", "net at stripe", "device", "device name", "site", "plan", "card")
		},
		row: func(out *bufio.Writer, m ledger.Movement) {
			at, net, cells := m.At.In(c.Zone), "", table{out, semicolon}
			if m.Kind == payment.MovedFee {
				net = cells.figure(m.Net, m.Currency)
			}
			write(out, at.Format(time.RFC3339), at.Format(dayLayout), movementWords(m),
				cells.figure(m.Amount, m.Currency), strings.ToUpper(m.Currency), m.Reason, m.Payment.ID,
				m.Payment.SessionID, m.Payment.PaymentIntent,
				m.Ref, net, m.Payment.DeviceUID, m.Payment.DeviceName, c.siteOf(m.Payment.DeviceUID), m.Payment.Plan,
				m.Payment.CardLast4)
		},
	}
}

// quickBooksLayout is the layout with three columns of QuickBooks Online for bank transactions.
func (c *Console) quickBooksLayout(currency string) fileLayout {
	return fileLayout{
		file:  "quickbooks",
		begin: func(out *bufio.Writer) { _, _ = out.WriteString("Date,Description,Amount\r\n") },
		row: func(out *bufio.Writer, m ledger.Movement) {
			if m.Currency == currency {
				_, _ = fmt.Fprintf(out, "%s,%s,%s\r\n", m.At.In(c.Zone).Format("01/02/2006"),
					quotedCell(movementText(m)+" "+m.Payment.ID), web.Figure(m.Amount, m.Currency))
			}
		},
	}
}

// datevNumbers are the fields of the form that become numbers of DATEV's, with their lengths.
func datevNumbers() map[string]*regexp.Regexp {
	account := regexp.MustCompile(`^[0-9]{0,9}$`)
	return map[string]*regexp.Regexp{
		"consultant": regexp.MustCompile(`^[0-9]{0,7}$`), "client": regexp.MustCompile(`^[0-9]{0,5}$`),
		"account": account, "revenue_account": account, "fee_account": account,
	}
}

// datevLayout follows DATEV's format EXTF 700 for posting batches (Buchungsstapel). Accounts that were
// not given stay empty.
func (c *Console) datevLayout(q url.Values, from, to time.Time) (l fileLayout, problem string) {
	numbers := map[string]string{}
	for name, valid := range datevNumbers() {
		if numbers[name] = strings.TrimSpace(q.Get(name)); !valid.MatchString(numbers[name]) {
			return l, "DATEV's numbers are digits: up to 7 for the consultant, 5 for the client, 9 for an account."
		}
	}
	if from.Year() != to.Year() {
		return l, "A file for DATEV holds days of one year, because its rows name the day and the month alone."
	}
	length := max(len(numbers["account"]), len(numbers["revenue_account"]), 4)
	begin := func(out *bufio.Writer) {
		now := c.Ledger.Now().In(c.Zone)
		_, _ = fmt.Fprintf(out, `"EXTF";700;21;"Buchungsstapel";13;%s;;"NP";"";"";%s;%s;%d0101;%d;%s;%s;`+
			`"notepay";"";1;0;0;"";;"";;;"";;;"";""`+"\r\n",
			now.Format("20060102150405")+fmt.Sprintf("%03d", now.Nanosecond()/1e6), numbers["consultant"],
			numbers["client"], from.Year(), length, from.Format("20060102"), to.Format("20060102"))
		_, _ = out.WriteString("Umsatz (ohne Soll/Haben-Kz);Soll/Haben-Kennzeichen;WKZ Umsatz;Kurs;Basis-Umsatz;" +
			"WKZ Basis-Umsatz;Konto;Gegenkonto (ohne BU-Schlüssel);BU-Schlüssel;Belegdatum;Belegfeld 1;Belegfeld 2;" +
			"Skonto;Buchungstext\r\n")
	}
	row := func(out *bufio.Writer, m ledger.Movement) {
		side, amount, contra := "S", m.Amount, numbers["revenue_account"]
		if amount < 0 {
			side, amount = "H", -amount
		}
		if m.Kind == payment.MovedFee {
			contra = numbers["fee_account"]
		}
		figure := strings.Replace(web.Figure(amount, m.Currency), ".", ",", 1)
		if !strings.Contains(figure, ",") {
			figure += ",00"
		}
		_, _ = fmt.Fprintf(out, `%s;"%s";"%s";;;"";%s;%s;"";%s;"%s";"";;%s`+"\r\n", figure, side,
			strings.ToUpper(m.Currency), numbers["account"], contra, m.At.In(c.Zone).Format("0201"), m.Payment.ID,
			quotedCell(firstRunes(movementText(m), 60)))
	}
	return fileLayout{file: "EXTF_Buchungsstapel", begin: begin, row: row}, ""
}

// quotedCell quotes a text, and escapes formulas.
func quotedCell(text string) string {
	return `"` + strings.ReplaceAll(escapeFormula(text), `"`, `""`) + `"`
}

// firstRunes returns at most n characters of a text.
func firstRunes(text string, n int) string {
	if list := []rune(text); len(list) > n {
		return string(list[:n])
	}
	return text
}

// movementText describes a movement in one line.
func movementText(m ledger.Movement) string {
	name := web.MachineName(m.Payment.DeviceName, m.Payment.DeviceUID)
	words := movementWords(m)
	text := strings.ToUpper(words[:1]) + words[1:] + " " + name
	if m.Kind == payment.MovedCapture && m.Payment.Plan != "" {
		text += ", " + m.Payment.Plan
	}
	return strings.Join(strings.Fields(text), " ")
}

// movementWords names the kind of a movement.
func movementWords(m ledger.Movement) string {
	switch {
	case m.Kind == payment.MovedCapture && m.Amount > 0:
		return "payment"
	case m.Kind == payment.MovedCapture:
		return "payment taken back"
	case m.Kind == payment.MovedRefund && m.Amount < 0:
		return "refund"
	case m.Kind == payment.MovedRefund:
		return "refund returned"
	case m.Kind == payment.MovedLost && m.Amount < 0:
		return "dispute lost"
	case m.Kind == payment.MovedLost:
		return "dispute regained"
	case m.Kind == payment.MovedFee && m.Amount < 0:
		return "fee"
	case m.Kind == payment.MovedFee:
		return "fee returned"
	}
	return string(m.Kind)
}

// refundWords says why money was refunded, in a table.
func refundWords(reason string) string {
	switch reason {
	case payment.RefundByOperator:
		return "by the operator"
	case payment.RefundElsewhere:
		return "in Stripe's Dashboard"
	}
	return cmp.Or(reasonWords(reason), reason)
}
