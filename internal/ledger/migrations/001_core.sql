-- One text for SQLite and PostgreSQL. All times are Unix milliseconds, all amounts minor currency units, all flags 0 or 1.
-- The CHECKs and unique indexes refuse nonsense by themselves, even where the code is wrong. What every payment has to pass says so without
-- IN lists of more than two: SQLite builds a small table of each one for each write, and a third of all its work went there.

-- Small facts about this ledger: "born" (when it was made), "fleet_loaded" (the first complete device listing), "probe".
CREATE TABLE facts (
	name  TEXT NOT NULL PRIMARY KEY,
	value INTEGER NOT NULL
) STRICT;

CREATE TABLE devices (
	uid           TEXT NOT NULL PRIMARY KEY CHECK (uid LIKE 'dev:%'),
	name          TEXT NOT NULL,
	fleets        TEXT NOT NULL,              -- JSON array of fleet UIDs
	disabled      INTEGER NOT NULL CHECK (disabled IN (0, 1)),
	last_activity INTEGER                     -- NULL: Notehub has never heard of it
) STRICT;

-- What Notehub's environment variables say at one level, as far as it concerns what is sold.
CREATE TABLE variables (
	owner   TEXT NOT NULL PRIMARY KEY,        -- 'project', fleet:..., dev:...
	value   TEXT NOT NULL,                    -- JSON object of strings
	read_at INTEGER NOT NULL
) STRICT;

-- Devices that are taken out of sale. A device that is removed keeps its pause, should it come back.
CREATE TABLE pauses (
	device_uid TEXT NOT NULL PRIMARY KEY,
	reason     TEXT NOT NULL,
	by         TEXT NOT NULL,
	at         INTEGER NOT NULL,
	automatic  INTEGER NOT NULL CHECK (automatic IN (0, 1)) -- ends by itself when the device is heard from again
) STRICT;

-- Who changed what by hand, and what changed by itself in somebody's stead. The ids are the time and a number within it, so that their order is what happened when.
CREATE TABLE audit (
	id      TEXT NOT NULL PRIMARY KEY,
	at      INTEGER NOT NULL,
	who     TEXT NOT NULL CHECK (who <> ''),
	what    TEXT NOT NULL CHECK (what <> ''),
	subject TEXT NOT NULL,                    -- a device's uid, a credit's id
	why     TEXT NOT NULL,
	before  TEXT NOT NULL,
	after   TEXT NOT NULL
) STRICT;
CREATE INDEX audit_of_subject ON audit (subject, id);

-- A link is remembered after it was deactivated, too: it says what was sold, and it is activated again before another is made.
CREATE TABLE links (
	id              TEXT NOT NULL PRIMARY KEY,   -- plink_...
	livemode        INTEGER NOT NULL CHECK (livemode IN (0, 1)),
	device_uid      TEXT NOT NULL,
	price_id        TEXT NOT NULL,
	url             TEXT NOT NULL,
	return_url      TEXT NOT NULL,
	active          INTEGER NOT NULL CHECK (active IN (0, 1)),
	manual          INTEGER NOT NULL CHECK (manual IN (0, 1)), -- it holds the money until it is captured
	-- the plan as it is sold through this link
	plan            TEXT NOT NULL,
	amount          INTEGER NOT NULL CHECK (amount >= 0),
	currency        TEXT NOT NULL,
	duration_s      INTEGER NOT NULL CHECK (duration_s >= 0),
	delayed_start_s INTEGER NOT NULL CHECK (delayed_start_s >= 0),
	description     TEXT NOT NULL,
	image           TEXT NOT NULL,               -- URL
	access_code     INTEGER NOT NULL CHECK (access_code IN (0, 1))
) STRICT;
CREATE UNIQUE INDEX links_one_active ON links (device_uid, price_id, livemode) WHERE active = 1;

CREATE TABLE payments (
	id              TEXT NOT NULL PRIMARY KEY CHECK (id LIKE 'cr!_%' ESCAPE '!' AND length(id) = 19),
	session_id      TEXT NOT NULL UNIQUE,
	payment_intent  TEXT UNIQUE,                 -- NULL: a free session has none
	token           TEXT NOT NULL UNIQUE,        -- the payer's page: 128 random bits
	device_uid      TEXT NOT NULL,
	device_name     TEXT NOT NULL,
	price_id        TEXT NOT NULL,
	plan            TEXT NOT NULL,
	duration_s      INTEGER NOT NULL CHECK (duration_s >= 0),
	delayed_start_s INTEGER NOT NULL CHECK (delayed_start_s >= 0),
	amount          INTEGER NOT NULL CHECK (amount >= 0),
	currency        TEXT NOT NULL,
	livemode        INTEGER NOT NULL CHECK (livemode IN (0, 1)),

	money           TEXT NOT NULL CHECK (money = 'authorized' OR money = 'capturing' OR money = 'paid' OR money = 'releasing' OR money = 'released' OR
	                  money = 'capture_failed' OR money = 'refunding' OR money = 'refunded' OR money = 'refund_failed' OR
	                  money = 'disputed' OR money = 'lost'),
	refunded_amount INTEGER NOT NULL CHECK (refunded_amount BETWEEN 0 AND amount),
	machine         TEXT NOT NULL CHECK (machine = 'queued' OR machine = 'sent' OR machine = 'fetched' OR machine = 'started' OR machine = 'done' OR
	                  machine = 'failed'),
	reason          TEXT NOT NULL,               -- why the machine failed, or its session ended early
	code            TEXT NOT NULL,               -- the machine's own, such as E-DOOR
	attention       TEXT NOT NULL,               -- why a person must look; '' for nobody has to
	paid_at         INTEGER NOT NULL,            -- by Stripe's clock
	created_at      INTEGER NOT NULL,            -- recorded here
	sent_at         INTEGER,
	started_at      INTEGER,
	ends_at         INTEGER,
	expires_at      INTEGER,                     -- NULL: never
	confirm_by      INTEGER,                     -- silence after this gives the money back; NULL: no confirmation is expected
	occupies        INTEGER NOT NULL CHECK (occupies IN (0, 1)),  -- a timed credit that holds its device

	-- the queue: at most one next step
	step            TEXT NOT NULL CHECK (step = '' OR step = 'note' OR step = 'check_pending' OR step = 'recall' OR step = 'capture' OR step = 'release' OR
	                  step = 'refund' OR step = 'wait'),
	due_at          INTEGER,
	not_before      INTEGER,                     -- back-off, or a call whose time limit has to be waited out
	turn            INTEGER NOT NULL,            -- grows with each claim; a worker with an older one chooses no step
	in_flight       INTEGER NOT NULL CHECK (in_flight BETWEEN 0 AND 2), -- claimed and not settled: its call may be under way;
	                                             -- 2: claimed by a process that is gone
	failures        INTEGER NOT NULL CHECK (failures >= 0),       -- calls in a row that came to nothing
	posted          INTEGER NOT NULL CHECK (posted IN (0, 1)),    -- Notehub has, or may have, taken a note
	unclear         INTEGER NOT NULL CHECK (unclear IN (0, 1)),   -- the last post may have been applied: look before another
	vanished        INTEGER NOT NULL CHECK (vanished IN (0, 1)),  -- an unclear post was not found: not applied, or fetched already
	stop            TEXT NOT NULL,               -- why the note is to be taken back before its time; '' for it is not
	recalled        TEXT NOT NULL CHECK (recalled = '' OR recalled = 'deleted' OR recalled = 'unclear' OR recalled = 'fetched'), -- what the deletions of a recall came to so far
	note_ids        TEXT NOT NULL,               -- pending notes that are still to be deleted, with commas
	tell            TEXT NOT NULL CHECK (tell = '' OR tell = 'refunded' OR tell = 'ended'), -- what a machine that confirms has to be told

	-- the refund under way or made last; it is on disk before it is made
	refund_number   INTEGER NOT NULL CHECK (refund_number >= 0),
	refund_amount   INTEGER NOT NULL CHECK (refund_amount BETWEEN 0 AND amount),
	refund_goal     INTEGER NOT NULL CHECK (refund_goal BETWEEN 0 AND amount),      -- refunded_amount once it is made
	refund_at       INTEGER,                     -- when it was ordered
	refund_look     INTEGER NOT NULL CHECK (refund_look IN (0, 1)), -- read what was refunded before ordering more

	CHECK ((step = '') = (due_at IS NULL)),
	CHECK (in_flight = 0 OR step <> ''),
	CHECK (unclear = 0 OR posted = 1),
	CHECK (machine <> 'failed' OR reason <> ''),
	CHECK (machine IN ('queued', 'failed') OR (sent_at IS NOT NULL AND posted = 1)),
	CHECK (recalled <> '' OR note_ids = ''),
	CHECK (money NOT IN ('refunding', 'refund_failed') OR refund_number > 0)
) STRICT;
-- What is due, by whom it calls. The conditions stand in the queries in the same words, or these would not be used.
CREATE INDEX payments_fresh ON payments (due_at) WHERE (step = 'note' OR step = 'check_pending' OR step = 'recall') AND failures = 0;
CREATE INDEX payments_again ON payments (due_at) WHERE (step = 'note' OR step = 'check_pending' OR step = 'recall') AND failures > 0;
CREATE INDEX payments_money ON payments (due_at) WHERE (step = 'capture' OR step = 'release' OR step = 'refund');
CREATE INDEX payments_timed ON payments (due_at) WHERE step = 'wait';
CREATE UNIQUE INDEX payments_one_timed ON payments (device_uid) WHERE occupies = 1;
CREATE INDEX payments_awaited ON payments (confirm_by) WHERE machine IN ('sent', 'fetched') AND confirm_by IS NOT NULL;
CREATE INDEX payments_in_flight ON payments (device_uid, due_at) WHERE in_flight = 1;
CREATE INDEX payments_queued ON payments (created_at) WHERE machine = 'queued';
CREATE INDEX payments_attention ON payments (created_at, id) WHERE attention <> '';
CREATE INDEX payments_newest ON payments (created_at, id);
CREATE INDEX payments_of_device ON payments (device_uid, created_at, id);

-- Each call made for a payment; with the payment's row it tells the story without logs.
CREATE TABLE attempts (
	payment_id TEXT NOT NULL REFERENCES payments (id),
	at         INTEGER NOT NULL,
	action     TEXT NOT NULL CHECK (action = 'note' OR action = 'check_pending' OR action = 'recall' OR action = 'capture' OR action = 'release' OR
	                  action = 'refund'),
	outcome    TEXT NOT NULL CHECK (outcome = 'ok' OR outcome = 'retry' OR outcome = 'failed'),
	status     INTEGER NOT NULL,                 -- HTTP; 0: no reply
	detail     TEXT NOT NULL,
	took_ms    INTEGER NOT NULL
) STRICT;
CREATE INDEX attempts_of_payment ON attempts (payment_id, at);

-- Sessions that Stripe has to be asked about before it is known whether they are a payment.
CREATE TABLE lookups (
	id         TEXT NOT NULL PRIMARY KEY,        -- cs_... or pi_...
	paid_at    INTEGER NOT NULL,                 -- the time of the event that asks
	facts      INTEGER NOT NULL CHECK (facts IN (0, 1)), -- it is asked for its money, also where the payment is known
	due_at     INTEGER NOT NULL,
	turn       INTEGER NOT NULL,
	failures   INTEGER NOT NULL CHECK (failures >= 0)
) STRICT;
CREATE INDEX lookups_due ON lookups (due_at);
CREATE INDEX lookups_late ON lookups (paid_at);

-- Every event that Stripe sent with a good signature. Its repeats are counted, each of them a duplicate_payment_ignored.
CREATE TABLE stripe_events (
	id         TEXT NOT NULL PRIMARY KEY,        -- evt_...
	type       TEXT NOT NULL,
	object_id  TEXT NOT NULL,
	livemode   INTEGER NOT NULL CHECK (livemode IN (0, 1)),
	created_at INTEGER NOT NULL,                 -- by Stripe's clock
	received   INTEGER NOT NULL,
	outcome    TEXT NOT NULL CHECK (outcome <> ''),
	repeats    INTEGER NOT NULL DEFAULT 0,
	body       TEXT NOT NULL                     -- without customer_details, billing_details and shipping
) STRICT;
CREATE INDEX stripe_events_newest ON stripe_events (received);
CREATE INDEX stripe_events_closed ON stripe_events (object_id) WHERE type = 'charge.dispute.closed';

-- What machines answered. An answer that comes twice (by the route, and read through the cursor) has the same id.
CREATE TABLE confirmations (
	id         TEXT NOT NULL PRIMARY KEY,        -- of Notehub's event
	device_uid TEXT NOT NULL,
	credit_id  TEXT NOT NULL,
	state      TEXT NOT NULL,
	code       TEXT NOT NULL,
	at         INTEGER NOT NULL,                 -- when Notehub received it
	received   INTEGER NOT NULL,                 -- when we did
	outcome    TEXT NOT NULL CHECK (outcome <> '')
) STRICT;
CREATE INDEX confirmations_of_credit ON confirmations (credit_id, at);

-- Where reading goes on at a vendor that numbers what it tells, by the vendor's own words.
CREATE TABLE cursors (
	name  TEXT NOT NULL PRIMARY KEY,
	value TEXT NOT NULL
) STRICT;
