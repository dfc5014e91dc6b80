-- Checkout Sessions that were made for one purchase each, with the plan as it is sold through them. They are forgotten when nothing can come of them any more.
CREATE TABLE sessions (
	id              TEXT NOT NULL PRIMARY KEY CHECK (id LIKE 'cs!_%' ESCAPE '!'),
	livemode        INTEGER NOT NULL CHECK (livemode IN (0, 1)),
	device_uid      TEXT NOT NULL,
	manual          INTEGER NOT NULL CHECK (manual IN (0, 1)), -- it holds the money until it is captured
	ends_at         INTEGER NOT NULL,            -- it cannot be paid after this
	price_id        TEXT NOT NULL,
	plan            TEXT NOT NULL,
	amount          INTEGER NOT NULL CHECK (amount >= 0),
	currency        TEXT NOT NULL,
	duration_s      INTEGER NOT NULL CHECK (duration_s >= 0),
	delayed_start_s INTEGER NOT NULL CHECK (delayed_start_s >= 0),
	description     TEXT NOT NULL,
	image           TEXT NOT NULL,               -- URL
	access_code     INTEGER NOT NULL CHECK (access_code IN (0, 1))
) STRICT;
CREATE INDEX sessions_end ON sessions (ends_at);
CREATE INDEX sessions_of_price ON sessions (price_id, livemode, ends_at, id);
