-- Why a session that Stripe is asked about counts as handled by an earlier state of this ledger. '': nothing says so.
ALTER TABLE lookups ADD COLUMN handled TEXT NOT NULL DEFAULT '';
-- What a price costs in currencies beside its own, such as 'gbp=300,usd=400'. '': it has only its own, or that was not read.
ALTER TABLE links ADD COLUMN currency_options TEXT NOT NULL DEFAULT '';
ALTER TABLE sessions ADD COLUMN currency_options TEXT NOT NULL DEFAULT '';
