-- What customers report about a payment. Nothing follows from a report by itself.
CREATE TABLE customer_reports (
	payment_id TEXT NOT NULL REFERENCES payments (id),
	at         INTEGER NOT NULL,
	reason     TEXT NOT NULL CHECK (reason <> ''),
	words      TEXT NOT NULL,   -- the customer's own, '' for none
	seen_at    INTEGER,         -- NULL: no operator has seen it
	PRIMARY KEY (payment_id, at)
) STRICT;
CREATE INDEX customer_reports_open ON customer_reports (at) WHERE seen_at IS NULL;
