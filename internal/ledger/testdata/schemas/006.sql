-- Before disputes had a table.
INSERT INTO attempts (payment_id, at, action, outcome, status, detail, took_ms)
	SELECT id, 1763722696000, 'note', 'ok', 200, '', 12 FROM payments WHERE session_id = 'cs_sent';
INSERT INTO stripe_events (id, type, object_id, livemode, created_at, received, outcome, body, payment_intent)
	VALUES ('evt_1', 'charge.dispute.created', 'dp_1', 0, 1763722696000, 1763722696000, 'followed', '{}', 'pi_disputed');
UPDATE payments SET with_code = 1, access_code = '493817' WHERE session_id = 'cs_sent';
