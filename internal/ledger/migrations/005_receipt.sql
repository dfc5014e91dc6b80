-- Stripe's own receipt, which only the charge tells: '' until one was read.
ALTER TABLE payments ADD COLUMN receipt_url TEXT NOT NULL DEFAULT '';
-- Since when the machine and the money are where they are. NULL: not known, for it was so before this was kept.
ALTER TABLE payments ADD COLUMN machine_at INTEGER;
ALTER TABLE payments ADD COLUMN money_at INTEGER;
