-- What was told last of each dispute. A payment may have several, and is disputed while one of them is open.
CREATE TABLE disputes (
	id             TEXT NOT NULL PRIMARY KEY CHECK (id <> ''), -- dp_... or du_...
	payment_intent TEXT NOT NULL CHECK (payment_intent <> ''), -- the payment may not be known yet
	status         TEXT NOT NULL,                              -- Stripe's word
	amount         INTEGER NOT NULL,                           -- minor units of its currency
	currency       TEXT NOT NULL,
	refundable     INTEGER NOT NULL CHECK (refundable IN (0, 1)), -- Stripe lets the charge be refunded nevertheless
	told_at        INTEGER NOT NULL                            -- by Stripe's clock
) STRICT;
CREATE INDEX disputes_of_intent ON disputes (payment_intent, id);
DROP INDEX stripe_events_closed; -- it found the end of a dispute

-- What the bank took for good. A part of the payment is left where a dispute was about a part.
ALTER TABLE payments ADD COLUMN lost_amount INTEGER NOT NULL DEFAULT 0 CHECK (lost_amount >= 0);

-- Of disputes that were told before this was kept, the events and the payment say what is needed: whether each is over, and for whom.
INSERT INTO disputes (id, payment_intent, status, amount, currency, refundable, told_at)
	SELECT e.object_id, e.payment_intent,
		CASE WHEN max(p.money) = 'lost' THEN 'lost'
			WHEN max(p.money) = 'disputed' AND max(CASE WHEN e.type = 'charge.dispute.closed' THEN 1 ELSE 0 END) = 0 THEN 'needs_response'
			ELSE 'won' END,
		max(p.amount), max(p.currency), 0, max(e.created_at)
	FROM stripe_events e JOIN payments p ON p.payment_intent = e.payment_intent
	WHERE e.type LIKE 'charge.dispute.%' AND e.object_id <> ''
	GROUP BY e.object_id, e.payment_intent;
UPDATE payments SET lost_amount = amount - refunded_amount WHERE money = 'lost';

-- Credits that Notehub never said yes to, of which a machine that confirms may still say that it has one.
CREATE INDEX payments_in_doubt ON payments (confirm_by) WHERE machine = 'queued' AND vanished = 1 AND confirm_by IS NOT NULL;

-- Each vendor has a back-off of its own: a refund does not wait for Notehub, nor a note for Stripe.
ALTER TABLE payments ADD COLUMN money_not_before INTEGER;
ALTER TABLE payments ADD COLUMN money_failures INTEGER NOT NULL DEFAULT 0 CHECK (money_failures >= 0);
UPDATE payments SET money_not_before = not_before, money_failures = failures, not_before = NULL, failures = 0
	WHERE step = 'capture' OR step = 'release' OR step = 'refund';
