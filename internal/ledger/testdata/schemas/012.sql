-- Before payments had numbers.
INSERT INTO attempts (payment_id, at, action, outcome, status, detail, took_ms)
	SELECT id, 1763722696000, 'note', 'ok', 200, '', 12 FROM payments WHERE session_id = 'cs_sent';
INSERT INTO disputes (id, payment_intent, status, amount, currency, refundable, told_at)
	VALUES ('dp_1', 'pi_disputed', 'needs_response', 350, 'eur', 0, 1763722696000);
UPDATE payments SET money_failures = 1, money_not_before = 1763722696000 WHERE session_id = 'cs_refunding';
