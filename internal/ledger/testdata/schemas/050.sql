-- Before migrations said what they need.
INSERT INTO attempts (n, seq, at, action, outcome, status, detail, took_ms)
	SELECT n, 0, 1763722696000, 'note', 'ok', 200, '', 12 FROM payments WHERE session_id = 'cs_sent';
INSERT INTO disputes (id, payment_intent, status, amount, currency, refundable, told_at)
	VALUES ('dp_1', 'pi_disputed', 'needs_response', 350, 'eur', 0, 1763722696000);
INSERT INTO sign_ins (id, until) VALUES ('digest', 99);
