-- What each recipient of alerts was told, so that a restart repeats nothing.
CREATE TABLE alert_states (
	target  TEXT NOT NULL,    -- a digest of its address
	kind    TEXT NOT NULL,
	is_open INTEGER NOT NULL CHECK (is_open IN (0, 1)), -- it was told that something is wrong, and not that it is over
	sent_at INTEGER NOT NULL, -- the last message
	number  INTEGER NOT NULL, -- of messages
	keys    TEXT NOT NULL,    -- what it knows, a line each
	PRIMARY KEY (target, kind)
) STRICT;

-- Until when Stripe takes evidence. NULL: Stripe did not say.
ALTER TABLE disputes ADD COLUMN due_at INTEGER;
