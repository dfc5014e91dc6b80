-- What an operator looks for. The indexes are partial: recording an ordinary payment and its event adds nothing to them.

-- '' until a charge of the payment was read: Stripe's webhook of a session does not tell it.
ALTER TABLE payments ADD COLUMN card_last4 TEXT NOT NULL DEFAULT '';
CREATE INDEX payments_of_card ON payments (card_last4, created_at, id) WHERE card_last4 <> '';
CREATE INDEX payments_money_moved ON payments (created_at, id) WHERE money <> 'authorized' AND money <> 'capturing' AND money <> 'paid';
CREATE INDEX payments_failed ON payments (created_at, id) WHERE machine = 'failed';

-- Of events that follow a payment later, such as refunds and disputes: which payment they are about. NULL for all others.
ALTER TABLE stripe_events ADD COLUMN payment_intent TEXT;
CREATE INDEX stripe_events_of_intent ON stripe_events (payment_intent) WHERE payment_intent IS NOT NULL;
