-- needs: 066
-- Codes with which a customer starts a machine once for free. A code is shown once, and only its digest is kept.
CREATE TABLE goodwill_codes (
	digest     TEXT NOT NULL PRIMARY KEY,
	device_uid TEXT NOT NULL, -- '': any machine of the site
	site       TEXT NOT NULL, -- a fleet's UID. '': the machine alone
	price_id   TEXT NOT NULL, -- what it starts. '': the machine's first program
	payment_id TEXT NOT NULL, -- the payment that it makes up for. '': none
	created_by TEXT NOT NULL,
	reason     TEXT NOT NULL,
	created_at INTEGER NOT NULL,
	expires_at INTEGER NOT NULL,
	credit_id  TEXT NOT NULL DEFAULT '', -- its last free start. '': it was not used
	used_at    INTEGER
) STRICT;
CREATE INDEX goodwill_codes_by_expiry ON goodwill_codes (expires_at);
CREATE INDEX goodwill_codes_of_payment ON goodwill_codes (payment_id, created_at, digest) WHERE payment_id <> '';
