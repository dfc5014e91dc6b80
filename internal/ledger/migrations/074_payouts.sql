-- needs: 066
-- Stripe's payouts to the operator's bank, as last read.
CREATE TABLE payouts (
	id         TEXT NOT NULL PRIMARY KEY,
	livemode   INTEGER NOT NULL CHECK (livemode IN (0, 1)),
	at         INTEGER NOT NULL,
	arrival_at INTEGER NOT NULL,
	amount     INTEGER NOT NULL,
	currency   TEXT NOT NULL,
	status     TEXT NOT NULL
) STRICT;
CREATE INDEX payouts_at ON payouts (livemode, at);
