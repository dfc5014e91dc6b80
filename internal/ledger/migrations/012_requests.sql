-- What an operator's request led to, so that it counts once however often it is sent. It is forgotten after a day.
CREATE TABLE requests (
	id      TEXT NOT NULL PRIMARY KEY,  -- an Idempotency-Key or a form's token, each with a prefix of its own
	request TEXT NOT NULL,              -- a digest of what was asked for
	answer  TEXT NOT NULL,              -- the body of the answer, '' for none
	at      INTEGER NOT NULL
) STRICT;
CREATE INDEX requests_at ON requests (at);
-- What money a decision was about, in minor currency units. NULL: about none.
ALTER TABLE audit ADD COLUMN amount INTEGER CHECK (amount >= 0);
ALTER TABLE audit ADD COLUMN currency TEXT NOT NULL DEFAULT '';
