-- Before the sums of revenue, people and goodwill codes.
INSERT INTO attempts (n, seq, at, action, outcome, status, detail, took_ms)
	SELECT n, 0, 1763722696000, 'note', 'ok', 200, '', 12 FROM payments WHERE session_id = 'cs_sent';
INSERT INTO disputes (id, payment_intent, status, amount, currency, refundable, told_at)
	VALUES ('dp_1', 'pi_disputed', 'needs_response', 350, 'eur', 0, 1763722696000);
INSERT INTO sign_ins (id, until) VALUES ('digest', 99);
UPDATE payments SET refund_reference = '7-1' WHERE session_id = 'cs_done';
INSERT INTO links (id, livemode, device_uid, price_id, url, return_url, active, manual, plan, amount, currency, duration_s,
	delayed_start_s, description, image, access_code, text_sum)
	VALUES ('plink_1', 0, 'dev:1', 'price_warm', 'https://buy', '', 1, 0, 'Warm wash', 350, 'eur', 3600, 0, '', '', 0, 77);
INSERT INTO sessions (id, livemode, device_uid, manual, ends_at, price_id, plan, amount, currency, duration_s, delayed_start_s,
	description, image, access_code, browser, url)
	VALUES ('cs_open', 0, 'dev:2', 0, 1763724496000, 'price_warm', 'Warm wash', 350, 'eur', 3600, 0, '', '', 0, 'b', 'https://pay');
INSERT INTO alert_states (target, kind, is_open, sent_at, number, keys) VALUES ('digest', 'payments', 1, 1763722696000, 3, 'a');
INSERT INTO encrypted_notes (digest, payment_id, turn, payment_status, at)
	SELECT 'digest', id, 1, 'completed', 1763722696000 FROM payments WHERE session_id = 'cs_sent';
INSERT INTO customer_reports (payment_id, at, reason, words)
	SELECT id, 1763722697000, 'nothing', 'help' FROM payments WHERE session_id = 'cs_done';
