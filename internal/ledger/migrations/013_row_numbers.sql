-- The table of payments is made again with fewer indexes, because each of them is written with every payment.
-- A payment is found by its credit. The credit of a session and the credit in a token are computed, so neither needs an index.
-- Attempts are kept in the order of their payments' numbers, and need no index beside their key.
ALTER TABLE payments RENAME TO payments_before;
ALTER TABLE attempts RENAME TO attempts_before;

CREATE TABLE payments (
	n               INTEGER PRIMARY KEY,         -- the number of the row
	id              TEXT NOT NULL UNIQUE CHECK (id LIKE 'cr!_%' ESCAPE '!' AND length(id) = 19), -- derived from session_id
	session_id      TEXT NOT NULL,
	payment_intent  TEXT UNIQUE,                 -- NULL: a free session has none
	token           TEXT NOT NULL,               -- the customer's page: the credit and 128 random bits, or the bits alone
	device_uid      TEXT NOT NULL,
	device_name     TEXT NOT NULL,
	price_id        TEXT NOT NULL,
	plan            TEXT NOT NULL,
	duration_s      INTEGER NOT NULL CHECK (duration_s >= 0),
	delayed_start_s INTEGER NOT NULL CHECK (delayed_start_s >= 0),
	amount          INTEGER NOT NULL CHECK (amount >= 0),
	currency        TEXT NOT NULL,
	livemode        INTEGER NOT NULL CHECK (livemode IN (0, 1)),
	rev             INTEGER NOT NULL DEFAULT 0,  -- grows with each change of the row

	money           TEXT NOT NULL CHECK (money = 'authorized' OR money = 'capturing' OR money = 'paid' OR money = 'releasing' OR money = 'released' OR
	                  money = 'capture_failed' OR money = 'refunding' OR money = 'refunded' OR money = 'refund_failed' OR
	                  money = 'disputed' OR money = 'lost'),
	refunded_amount INTEGER NOT NULL CHECK (refunded_amount BETWEEN 0 AND amount),
	machine         TEXT NOT NULL CHECK (machine = 'queued' OR machine = 'sent' OR machine = 'fetched' OR machine = 'started' OR machine = 'done' OR
	                  machine = 'failed'),
	reason          TEXT NOT NULL,               -- why the machine failed, or its session ended early
	code            TEXT NOT NULL,               -- the machine's own, such as E-DOOR
	attention       TEXT NOT NULL,               -- why a person has to look; '' for nobody has to
	paid_at         INTEGER NOT NULL,            -- by Stripe's clock
	created_at      INTEGER NOT NULL,            -- recorded here
	sent_at         INTEGER,
	started_at      INTEGER,
	ends_at         INTEGER,
	expires_at      INTEGER,                     -- NULL: never
	confirm_by      INTEGER,                     -- silence after this returns the money; NULL: no confirmation is expected
	occupies        INTEGER NOT NULL CHECK (occupies IN (0, 1)), -- a timed credit that holds its device

	-- the queue: at most one next step
	step            TEXT NOT NULL CHECK (step = '' OR step = 'note' OR step = 'check_pending' OR step = 'recall' OR step = 'capture' OR step = 'release' OR
	                  step = 'refund' OR step = 'wait'),
	due_at          INTEGER,
	not_before      INTEGER,                     -- backoff of calls to Notehub
	turn            INTEGER NOT NULL,            -- grows with each claim; a worker with an older one chooses no step
	in_flight       INTEGER NOT NULL CHECK (in_flight BETWEEN 0 AND 2), -- claimed and not recorded: the call may be in flight;
	                                             -- 2: claimed by a process that has ended
	failures        INTEGER NOT NULL CHECK (failures >= 0),       -- failed calls to Notehub in a row
	posted          INTEGER NOT NULL CHECK (posted IN (0, 1)),    -- Notehub has, or may have, accepted a note
	unclear         INTEGER NOT NULL CHECK (unclear IN (0, 1)),   -- the last post may have been applied: look before another
	vanished        INTEGER NOT NULL CHECK (vanished IN (0, 1)),  -- an unclear post was not found: not applied, or fetched already
	stop            TEXT NOT NULL,               -- why the note is recalled; '' for it is not
	recalled        TEXT NOT NULL CHECK (recalled = '' OR recalled = 'deleted' OR recalled = 'unclear' OR recalled = 'fetched'), -- the result of the deletions of a recall so far
	note_ids        TEXT NOT NULL,               -- pending notes that are still to be deleted, with commas
	tell            TEXT NOT NULL CHECK (tell = '' OR tell = 'refunded' OR tell = 'ended'), -- what a machine that confirms has to be told

	-- the refund under way or made last; it is on disk before it is made
	refund_number   INTEGER NOT NULL CHECK (refund_number >= 0),
	refund_amount   INTEGER NOT NULL CHECK (refund_amount BETWEEN 0 AND amount),
	refund_goal     INTEGER NOT NULL CHECK (refund_goal BETWEEN 0 AND amount),      -- refunded_amount once it is made
	refund_at       INTEGER,                     -- when it was ordered
	refund_look     INTEGER NOT NULL CHECK (refund_look IN (0, 1)), -- read what was refunded before ordering more

	card_last4      TEXT NOT NULL DEFAULT '',    -- '' until a charge of the payment was read
	receipt_url     TEXT NOT NULL DEFAULT '',    -- '' until a charge of the payment was read
	with_code       INTEGER NOT NULL DEFAULT 0 CHECK (with_code IN (0, 1)),
	access_code     TEXT NOT NULL DEFAULT '' CHECK (access_code = '' OR (with_code = 1 AND length(access_code) = 6)), -- '' once it opens nothing
	machine_at      INTEGER,                     -- since when the credit is where it is; NULL: not known
	money_at        INTEGER,                     -- since when the money is where it is; NULL: not known
	lost_amount     INTEGER NOT NULL DEFAULT 0 CHECK (lost_amount >= 0), -- what the bank took for good
	money_not_before INTEGER,                    -- backoff of calls to Stripe
	money_failures  INTEGER NOT NULL DEFAULT 0 CHECK (money_failures >= 0),

	CHECK ((step = '') = (due_at IS NULL)),
	CHECK (in_flight = 0 OR step <> ''),
	CHECK (unclear = 0 OR posted = 1),
	CHECK (machine <> 'failed' OR reason <> ''),
	CHECK (machine IN ('queued', 'failed') OR (sent_at IS NOT NULL AND posted = 1)),
	CHECK (recalled <> '' OR note_ids = ''),
	CHECK (money NOT IN ('refunding', 'refund_failed') OR refund_number > 0)
) STRICT;

INSERT INTO payments (id, session_id, payment_intent, token, device_uid, device_name, price_id, plan, duration_s, delayed_start_s, amount,
		currency, livemode, money, refunded_amount, machine, reason, code, attention, paid_at, created_at, sent_at, started_at, ends_at, expires_at,
		confirm_by, occupies, step, due_at, not_before, turn, in_flight, failures, posted, unclear, vanished, stop, recalled, note_ids, tell,
		refund_number, refund_amount, refund_goal, refund_at, refund_look, card_last4, receipt_url, with_code, access_code, machine_at, money_at,
		lost_amount, money_not_before, money_failures)
	SELECT id, session_id, payment_intent, token, device_uid, device_name, price_id, plan, duration_s, delayed_start_s, amount,
		currency, livemode, money, refunded_amount, machine, reason, code, attention, paid_at, created_at, sent_at, started_at, ends_at, expires_at,
		confirm_by, occupies, step, due_at, not_before, turn, in_flight, failures, posted, unclear, vanished, stop, recalled, note_ids, tell,
		refund_number, refund_amount, refund_goal, refund_at, refund_look, card_last4, receipt_url, with_code, access_code, machine_at, money_at,
		lost_amount, money_not_before, money_failures
	FROM payments_before ORDER BY created_at, id;

-- Each call made for a payment; with the payment's row it tells the story without logs.
CREATE TABLE attempts (
	n          INTEGER NOT NULL REFERENCES payments (n),
	seq        INTEGER NOT NULL,                 -- counts the attempts of a payment in the order of their recording
	at         INTEGER NOT NULL,
	action     TEXT NOT NULL CHECK (action = 'note' OR action = 'check_pending' OR action = 'recall' OR action = 'capture' OR action = 'release' OR
	                  action = 'refund'),
	outcome    TEXT NOT NULL CHECK (outcome = 'ok' OR outcome = 'retry' OR outcome = 'failed'),
	status     INTEGER NOT NULL,                 -- HTTP; 0: no reply
	detail     TEXT NOT NULL,
	took_ms    INTEGER NOT NULL,
	PRIMARY KEY (n, seq)
) STRICT, WITHOUT ROWID;
INSERT INTO attempts (n, seq, at, action, outcome, status, detail, took_ms)
	SELECT payments.n, row_number() OVER (PARTITION BY attempts_before.payment_id ORDER BY attempts_before.at) - 1,
		attempts_before.at, action, outcome, status, detail, took_ms
	FROM attempts_before JOIN payments ON payments.id = attempts_before.payment_id;

DROP TABLE attempts_before;
DROP TABLE payments_before;

-- The conditions stand in the queries in the same words, or these would not be used.
CREATE INDEX payments_fresh ON payments (due_at) WHERE (step = 'note' OR step = 'check_pending' OR step = 'recall') AND failures = 0;
CREATE INDEX payments_again ON payments (due_at) WHERE (step = 'note' OR step = 'check_pending' OR step = 'recall') AND failures > 0;
CREATE INDEX payments_money ON payments (due_at) WHERE (step = 'capture' OR step = 'release' OR step = 'refund');
CREATE INDEX payments_timed ON payments (due_at) WHERE step = 'wait';
CREATE UNIQUE INDEX payments_one_timed ON payments (device_uid) WHERE occupies = 1;
CREATE INDEX payments_awaited ON payments (confirm_by) WHERE machine IN ('sent', 'fetched') AND confirm_by IS NOT NULL;
CREATE INDEX payments_in_doubt ON payments (confirm_by) WHERE machine = 'queued' AND vanished = 1 AND confirm_by IS NOT NULL;
CREATE INDEX payments_in_flight ON payments (device_uid, due_at) WHERE in_flight = 1;
CREATE INDEX payments_queued ON payments (created_at) WHERE machine = 'queued';
CREATE INDEX payments_attention ON payments (created_at, id) WHERE attention <> '';
CREATE INDEX payments_newest ON payments (created_at, id);
CREATE INDEX payments_of_device ON payments (device_uid, created_at, id);
CREATE INDEX payments_of_card ON payments (card_last4, created_at, id) WHERE card_last4 <> '';
CREATE INDEX payments_money_moved ON payments (created_at, id) WHERE money <> 'authorized' AND money <> 'capturing' AND money <> 'paid';
CREATE INDEX payments_failed ON payments (created_at, id) WHERE machine = 'failed';
-- The pages of payments from before; later tokens name their credit and are longer.
CREATE UNIQUE INDEX payments_of_old_token ON payments (token) WHERE length(token) < 48;
