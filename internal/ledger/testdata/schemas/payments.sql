-- Payments in several states, in columns that every schema has.
INSERT INTO payments (id, session_id, payment_intent, token, device_uid, device_name, price_id, plan, duration_s,
	delayed_start_s, amount, currency, livemode, money, refunded_amount, machine, reason, code, attention, paid_at, created_at,
	sent_at, started_at, ends_at, expires_at, confirm_by, occupies, step, due_at, not_before, turn, in_flight, failures, posted,
	unclear, vanished, stop, recalled, note_ids, tell, refund_number, refund_amount, refund_goal, refund_at, refund_look)
WITH p (id, name, device, money, machine, reason, sent, started, ends, occupies, step, due, turn, in_flight, posted,
	refunds, refund) AS (VALUES
	('cr_fipjqgsirnsg4ze7', 'queued', 'dev:1', 'paid', 'queued', '', NULL, NULL, NULL, 0, 'note', 1763722696000, 0, 0, 0, 0, 0),
	('cr_3ybchao63g5cedje', 'flight', 'dev:2', 'paid', 'queued', '', NULL, NULL, NULL, 0, 'note', 1763722721000, 1, 1, 0, 0, 0),
	('cr_hktlvaawba5vpicy', 'looked', 'dev:3', 'paid', 'queued', '', NULL, NULL, NULL, 0, 'check_pending', 1763722696000, 2, 0, 1, 0, 0),
	('cr_i5iscem7rey7ec36', 'sent', 'dev:4', 'paid', 'sent', '', 1763722696000, NULL, NULL, 0, '', NULL, 1, 0, 1, 0, 0),
	('cr_h23mxvuzoohfuvva', 'started', 'dev:5', 'paid', 'started', '', 1763722696000, 1763722696000, 1763726296000, 1, 'wait', 1763726296000, 1, 0, 1, 0, 0),
	('cr_umfus3vnqv27c3qw', 'held', 'dev:6', 'authorized', 'started', '', 1763722696000, 1763722696000, NULL, 0, 'capture', 1763722696000, 1, 0, 1, 0, 0),
	('cr_tcqw2bikuwmm56io', 'refunding', 'dev:7', 'refunding', 'failed', 'refused', NULL, NULL, NULL, 0, 'refund', 1763722696000, 3, 0, 0, 1, 350),
	('cr_osxm3trsl3d3pm66', 'done', 'dev:8', 'paid', 'done', '', 1763722696000, 1763722696000, 1763726296000, 0, '', NULL, 1, 0, 1, 0, 0),
	('cr_omjldrvk3x6ey2rj', 'disputed', 'dev:9', 'disputed', 'done', '', 1763722696000, 1763722696000, NULL, 0, '', NULL, 1, 0, 1, 0, 0))
SELECT id, 'cs_' || name, 'pi_' || name, 'token_' || name, device, 'Washer', 'price_warm', 'Warm wash', 3600,
	0, 350, 'eur', 0, money, 0, machine, reason, '', '', 1763722696000, 1763722696000,
	sent, started, ends, NULL, NULL, occupies, step, due, NULL, turn, in_flight, 0, posted,
	CASE step WHEN 'check_pending' THEN 1 ELSE 0 END, 0, '', '', '', '', refunds, refund, refund,
	CASE refunds WHEN 0 THEN NULL ELSE 1763722696000 END, 0 FROM p;
INSERT INTO facts (name, value) VALUES ('born', 1763722695000);
