-- The schema of a ledger that commit 6cf4d03 made, as SQLite tells it, and what that commit noted of its migrations.
CREATE TABLE migrations (name TEXT NOT NULL PRIMARY KEY) STRICT;
CREATE TABLE facts (
	name  TEXT NOT NULL PRIMARY KEY,
	value INTEGER NOT NULL
) STRICT;
CREATE TABLE devices (
	uid           TEXT NOT NULL PRIMARY KEY CHECK (uid LIKE 'dev:%'),
	name          TEXT NOT NULL,
	fleets        TEXT NOT NULL,
	disabled      INTEGER NOT NULL CHECK (disabled IN (0, 1)),
	last_activity INTEGER
) STRICT;
CREATE TABLE variables (
	owner   TEXT NOT NULL PRIMARY KEY,
	value   TEXT NOT NULL,
	read_at INTEGER NOT NULL
) STRICT;
CREATE TABLE pauses (
	device_uid TEXT NOT NULL PRIMARY KEY,
	reason     TEXT NOT NULL,
	by         TEXT NOT NULL,
	at         INTEGER NOT NULL,
	automatic  INTEGER NOT NULL CHECK (automatic IN (0, 1))
) STRICT;
CREATE TABLE audit (
	id      TEXT NOT NULL PRIMARY KEY,
	at      INTEGER NOT NULL,
	who     TEXT NOT NULL CHECK (who <> ''),
	what    TEXT NOT NULL CHECK (what <> ''),
	subject TEXT NOT NULL,
	why     TEXT NOT NULL,
	before  TEXT NOT NULL,
	after   TEXT NOT NULL
) STRICT;
CREATE INDEX audit_of_subject ON audit (subject, id);
CREATE TABLE links (
	id              TEXT NOT NULL PRIMARY KEY,
	livemode        INTEGER NOT NULL CHECK (livemode IN (0, 1)),
	device_uid      TEXT NOT NULL,
	price_id        TEXT NOT NULL,
	url             TEXT NOT NULL,
	return_url      TEXT NOT NULL,
	active          INTEGER NOT NULL CHECK (active IN (0, 1)),
	manual          INTEGER NOT NULL CHECK (manual IN (0, 1)),

	plan            TEXT NOT NULL,
	amount          INTEGER NOT NULL CHECK (amount >= 0),
	currency        TEXT NOT NULL,
	duration_s      INTEGER NOT NULL CHECK (duration_s >= 0),
	delayed_start_s INTEGER NOT NULL CHECK (delayed_start_s >= 0),
	description     TEXT NOT NULL,
	image           TEXT NOT NULL,
	access_code     INTEGER NOT NULL CHECK (access_code IN (0, 1))
) STRICT;
CREATE UNIQUE INDEX links_one_active ON links (device_uid, price_id, livemode) WHERE active = 1;
CREATE TABLE payments (
	id              TEXT NOT NULL PRIMARY KEY CHECK (id LIKE 'cr!_%' ESCAPE '!' AND length(id) = 19),
	session_id      TEXT NOT NULL UNIQUE,
	payment_intent  TEXT UNIQUE,
	token           TEXT NOT NULL UNIQUE,
	device_uid      TEXT NOT NULL,
	device_name     TEXT NOT NULL,
	price_id        TEXT NOT NULL,
	plan            TEXT NOT NULL,
	duration_s      INTEGER NOT NULL CHECK (duration_s >= 0),
	delayed_start_s INTEGER NOT NULL CHECK (delayed_start_s >= 0),
	amount          INTEGER NOT NULL CHECK (amount >= 0),
	currency        TEXT NOT NULL,
	livemode        INTEGER NOT NULL CHECK (livemode IN (0, 1)),

	money           TEXT NOT NULL CHECK (money IN ('authorized', 'capturing', 'paid', 'releasing', 'released', 'capture_failed',
	                  'refunding', 'refunded', 'refund_failed', 'disputed', 'lost')),
	refunded_amount INTEGER NOT NULL CHECK (refunded_amount BETWEEN 0 AND amount),
	machine         TEXT NOT NULL CHECK (machine IN ('queued', 'sent', 'fetched', 'started', 'done', 'failed')),
	reason          TEXT NOT NULL,
	code            TEXT NOT NULL,
	attention       TEXT NOT NULL,
	paid_at         INTEGER NOT NULL,
	created_at      INTEGER NOT NULL,
	sent_at         INTEGER,
	started_at      INTEGER,
	ends_at         INTEGER,
	expires_at      INTEGER,
	confirm_by      INTEGER,
	occupies        INTEGER NOT NULL CHECK (occupies IN (0, 1)),


	step            TEXT NOT NULL CHECK (step IN ('', 'note', 'check_pending', 'recall', 'capture', 'release', 'refund', 'wait')),
	due_at          INTEGER,
	not_before      INTEGER,
	turn            INTEGER NOT NULL,
	in_flight       INTEGER NOT NULL CHECK (in_flight IN (0, 1, 2)),

	failures        INTEGER NOT NULL CHECK (failures >= 0),
	posted          INTEGER NOT NULL CHECK (posted IN (0, 1)),
	unclear         INTEGER NOT NULL CHECK (unclear IN (0, 1)),
	vanished        INTEGER NOT NULL CHECK (vanished IN (0, 1)),
	stop            TEXT NOT NULL,
	recalled        TEXT NOT NULL CHECK (recalled IN ('', 'deleted', 'unclear', 'fetched')),
	note_ids        TEXT NOT NULL,
	tell            TEXT NOT NULL CHECK (tell IN ('', 'refunded', 'ended')),


	refund_number   INTEGER NOT NULL CHECK (refund_number >= 0),
	refund_amount   INTEGER NOT NULL CHECK (refund_amount BETWEEN 0 AND amount),
	refund_goal     INTEGER NOT NULL CHECK (refund_goal BETWEEN 0 AND amount),
	refund_at       INTEGER,
	refund_look     INTEGER NOT NULL CHECK (refund_look IN (0, 1)), card_last4 TEXT NOT NULL DEFAULT '',

	CHECK ((step = '') = (due_at IS NULL)),
	CHECK (in_flight = 0 OR step <> ''),
	CHECK (unclear = 0 OR posted = 1),
	CHECK (machine <> 'failed' OR reason <> ''),
	CHECK (machine IN ('queued', 'failed') OR (sent_at IS NOT NULL AND posted = 1)),
	CHECK (recalled <> '' OR note_ids = ''),
	CHECK (money NOT IN ('refunding', 'refund_failed') OR refund_number > 0)
) STRICT;
CREATE INDEX payments_fresh ON payments (due_at) WHERE step <> '' AND failures = 0;
CREATE INDEX payments_again ON payments (due_at) WHERE step <> '' AND failures > 0;
CREATE UNIQUE INDEX payments_one_timed ON payments (device_uid) WHERE occupies = 1;
CREATE INDEX payments_awaited ON payments (confirm_by) WHERE machine IN ('sent', 'fetched') AND confirm_by IS NOT NULL;
CREATE INDEX payments_in_flight ON payments (device_uid) WHERE in_flight = 1;
CREATE INDEX payments_queued ON payments (created_at) WHERE machine = 'queued';
CREATE INDEX payments_attention ON payments (created_at, id) WHERE attention <> '';
CREATE INDEX payments_newest ON payments (created_at, id);
CREATE INDEX payments_of_device ON payments (device_uid, created_at, id);
CREATE TABLE attempts (
	payment_id TEXT NOT NULL REFERENCES payments (id),
	at         INTEGER NOT NULL,
	action     TEXT NOT NULL CHECK (action IN ('note', 'check_pending', 'recall', 'capture', 'release', 'refund')),
	outcome    TEXT NOT NULL CHECK (outcome IN ('ok', 'retry', 'failed')),
	status     INTEGER NOT NULL,
	detail     TEXT NOT NULL,
	took_ms    INTEGER NOT NULL
) STRICT;
CREATE INDEX attempts_of_payment ON attempts (payment_id, at);
CREATE TABLE lookups (
	id         TEXT NOT NULL PRIMARY KEY,
	paid_at    INTEGER NOT NULL,
	facts      INTEGER NOT NULL CHECK (facts IN (0, 1)),
	due_at     INTEGER NOT NULL,
	turn       INTEGER NOT NULL,
	failures   INTEGER NOT NULL CHECK (failures >= 0)
) STRICT;
CREATE INDEX lookups_due ON lookups (due_at);
CREATE INDEX lookups_late ON lookups (paid_at);
CREATE TABLE stripe_events (
	id         TEXT NOT NULL PRIMARY KEY,
	type       TEXT NOT NULL,
	object_id  TEXT NOT NULL,
	livemode   INTEGER NOT NULL CHECK (livemode IN (0, 1)),
	created_at INTEGER NOT NULL,
	received   INTEGER NOT NULL,
	outcome    TEXT NOT NULL CHECK (outcome <> ''),
	repeats    INTEGER NOT NULL DEFAULT 0,
	body       TEXT NOT NULL
, payment_intent TEXT) STRICT;
CREATE INDEX stripe_events_newest ON stripe_events (received);
CREATE INDEX stripe_events_closed ON stripe_events (object_id) WHERE type = 'charge.dispute.closed';
CREATE TABLE confirmations (
	id         TEXT NOT NULL PRIMARY KEY,
	device_uid TEXT NOT NULL,
	credit_id  TEXT NOT NULL,
	state      TEXT NOT NULL,
	code       TEXT NOT NULL,
	at         INTEGER NOT NULL,
	received   INTEGER NOT NULL,
	outcome    TEXT NOT NULL CHECK (outcome <> '')
) STRICT;
CREATE INDEX confirmations_of_credit ON confirmations (credit_id, at);
CREATE TABLE cursors (
	name  TEXT NOT NULL PRIMARY KEY,
	value TEXT NOT NULL
) STRICT;
CREATE INDEX payments_of_card ON payments (card_last4, created_at, id) WHERE card_last4 <> '';
CREATE INDEX payments_money_moved ON payments (created_at, id) WHERE money NOT IN ('authorized', 'capturing', 'paid');
CREATE INDEX payments_failed ON payments (created_at, id) WHERE machine = 'failed';
CREATE INDEX stripe_events_of_intent ON stripe_events (payment_intent) WHERE payment_intent IS NOT NULL;
INSERT INTO migrations (name) VALUES ('001_core.sql');
INSERT INTO migrations (name) VALUES ('002_search.sql');
