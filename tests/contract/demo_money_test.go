package contract

import (
	"fmt"
	"time"
)

// money waits until the washer's card shows all these texts for its latest payment. Texts that
// depend on time may take longer.
func (d *demo) money(texts ...string) {
	d.t.Helper()
	for _, text := range texts {
		d.page.untilWithin(waitTimeout+time.Minute,
			fmt.Sprintf("document.querySelector('#payments-washer .payment')?.innerText.includes(%q)", text))
	}
}

// says waits until the live view has a line with this text.
func (d *demo) says(text string) {
	d.t.Helper()
	d.page.until(fmt.Sprintf(`[...document.querySelectorAll("#lines .line .text")].some(l => l.innerText.includes(%q))`,
		text))
}

// returned waits until the money of the only payment is returned and the card shows the texts.
func (d *demo) returned(texts ...string) {
	d.t.Helper()
	d.money(texts...)
	d.tally(1, 0, 1, 0)
	d.page.reads(".strip", "The customer got the money back")
	d.page.fits()
}

// moneyFaults returns the faults after which the money is returned, or has a reason to stay.
func moneyFaults() []fault {
	return []fault{
		{
			"offline-washer",
			"a machine that stays offline has its note recalled, and the money goes back",
			func(d *demo) {
				pay(d.scan(), goodCard)
				d.returned("$3.50 refunded", "the note was recalled")
				d.says("recalls the note for Washer 3")
				d.page.reads("#notes-washer", "recalled")
				d.toggle("offline-washer", false)
				d.idle()
			},
		},
		{"refuses-washer", "a machine that refuses says why, and the money goes back", func(d *demo) {
			pay(d.scan(), goodCard)
			d.returned("$3.50 refunded", "the machine refused: E-DOOR")
			d.page.picture("money-back-" + d.page.size.name)
			d.says("Washer 3 answers: failed E-DOOR")
			d.says("refunds the money")
			d.idle()
		}},
		{"silent-washer", "a machine that says nothing does not keep the money", func(d *demo) {
			pay(d.scan(), goodCard)
			d.returned("$3.50 refunded", "did not answer in time", "needs attention")
			d.idle()
		}},
		{"power-washer", "a machine whose power fails starts once it is back", func(d *demo) {
			pay(d.scan(), goodCard)
			d.page.reads("#state-washer", "No power")
			d.idle()
			d.toggle("power-washer", false)
			d.started()
			d.money("$3.50 paid", "reported its start")
		}},
		{"late-washer", "an answer that comes late is in time", func(d *demo) {
			pay(d.scan(), goodCard)
			d.started()
			d.money("$3.50 paid", "reported its start")
		}},
		{"route-lost", "answers that the route loses are read before money goes back", func(d *demo) {
			pay(d.scan(), goodCard)
			d.started()
			d.money("$3.50 paid", "the machine")
			d.says("reads the machines' answers")
			d.money("$3.50 paid", "has finished")
			d.tally(1, 1, 0, 0)
		}},
		{"refund-fails", "a refund that fails is left to a person, who makes it by hand", func(d *demo) {
			d.page.click("#switch-refuses-washer")
			pay(d.scan(), goodCard)
			d.money("$3.50 refund failed", "needs attention")
			d.tally(1, 0, 0, 1)
			d.calm()
			d.page.click("#payments-washer summary")
			d.page.click("#payments-washer [value=refund]")
			d.returned("$3.50 refunded", "the machine refused: E-DOOR")
		}},
		{"twice-washer", "a dispute that is won leaves a payment that can be refunded by hand", func(d *demo) {
			pay(d.scan(), goodCard)
			d.started()
			d.money("$3.50 paid", "reported its start")
			d.page.click("#payments-washer summary")
			d.page.click("#payments-washer [value=dispute]")
			d.money("$3.50 disputed", "needs attention")
			d.page.until(`document.querySelector("#payments-washer details").open`)
			d.page.click("#payments-washer [value=won]")
			d.money("$3.50 paid")
			d.page.click("#payments-washer [value=refund]")
			d.returned("$3.50 refunded", "refunded by hand")
			d.page.reads("#notes-washer", "machine informed: refunded")
			d.page.reads("#state-washer", "Idle")
		}},
	}
}
