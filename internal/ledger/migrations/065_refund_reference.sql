-- The number by which the customer's bank finds the last refund. '': there is none, or Stripe does not know it yet.
ALTER TABLE payments ADD COLUMN refund_reference TEXT NOT NULL DEFAULT '';
