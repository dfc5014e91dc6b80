-- Of the time of testdata/old_schema.sql, when migrations were still changed in place.
INSERT INTO attempts (payment_id, at, action, outcome, status, detail, took_ms)
	SELECT id, 1763722696000, 'note', 'ok', 200, '', 12 FROM payments WHERE session_id = 'cs_sent';
INSERT INTO stripe_events (id, type, object_id, livemode, created_at, received, outcome, body, payment_intent)
	VALUES ('evt_1', 'charge.dispute.created', 'dp_1', 0, 1763722696000, 1763722696000, 'followed', '{}', 'pi_disputed');
