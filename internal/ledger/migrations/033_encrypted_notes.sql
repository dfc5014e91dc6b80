-- Each encrypted note before it is posted. Notehub shows it only by its encrypted data, so their digest tells whose it is.
CREATE TABLE encrypted_notes (
	digest         TEXT NOT NULL PRIMARY KEY, -- SHA-256 of the data, in hex
	payment_id     TEXT NOT NULL REFERENCES payments (id),
	turn           INTEGER NOT NULL,          -- the claim that posts it
	payment_status TEXT NOT NULL,             -- of the note, such as completed
	at             INTEGER NOT NULL
) STRICT;
