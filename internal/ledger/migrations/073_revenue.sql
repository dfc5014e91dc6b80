-- needs: 066
-- Money that moved after a payment was recorded. A payment that was captured when it was recorded has no row for that.
CREATE TABLE movements (
	n          INTEGER PRIMARY KEY,
	payment_id TEXT NOT NULL REFERENCES payments (id),
	at         INTEGER NOT NULL,
	kind       TEXT NOT NULL CHECK (kind = 'captured' OR kind = 'refund' OR kind = 'lost' OR kind = 'fee'),
	reason     TEXT NOT NULL,    -- of a refund, or Stripe's category of a fee
	amount     INTEGER NOT NULL, -- above 0: the operator has more
	currency   TEXT NOT NULL,
	net        INTEGER NOT NULL, -- of a fee: by how much the transaction changed Stripe's balance
	ref        TEXT UNIQUE       -- of a fee: Stripe's balance transaction
) STRICT;
CREATE INDEX movements_at ON movements (at, n);
CREATE INDEX movements_of_payment ON movements (payment_id, kind);

-- Sums of payments and movements, by day and by complete month in the operator's time zone. All rows follow from the two tables.
CREATE TABLE revenue (
	scale      TEXT NOT NULL CHECK (scale = 'day' OR scale = 'month'),
	dim        TEXT NOT NULL CHECK (dim = 'all' OR dim = 'plan' OR dim = 'machine'), -- the last is by machine and plan
	start      TEXT NOT NULL,    -- 2026-11-30, or 2026-11
	livemode   INTEGER NOT NULL CHECK (livemode IN (0, 1)),
	device_uid TEXT NOT NULL,    -- '' unless dim is machine
	plan       TEXT NOT NULL,    -- '' if dim is all
	currency   TEXT NOT NULL,    -- '' for free starts
	payments   INTEGER NOT NULL,
	credits    INTEGER NOT NULL, -- payments and free starts, by the day when they were recorded
	failed     INTEGER NOT NULL, -- credits that did not start
	used_s     INTEGER NOT NULL,
	captured   INTEGER NOT NULL,
	refunded   INTEGER NOT NULL,
	lost       INTEGER NOT NULL,
	fees       INTEGER NOT NULL,
	net        INTEGER NOT NULL, -- by Stripe's balance
	hours      TEXT NOT NULL,    -- by hour of the week, see package revenue
	reasons    TEXT NOT NULL,    -- refunds by reason, see package revenue
	PRIMARY KEY (scale, dim, start, livemode, device_uid, plan, currency)
) STRICT, WITHOUT ROWID;
CREATE INDEX revenue_of_device ON revenue (device_uid, scale, start);

-- Hours since 1970 in which something changed after it was summed up.
CREATE TABLE revenue_stale (
	hour  INTEGER NOT NULL,
	marks INTEGER NOT NULL,      -- grows with each change
	PRIMARY KEY (hour)
) STRICT;
