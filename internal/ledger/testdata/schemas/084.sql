-- Before the links of a device had an index.
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
UPDATE payments SET discount = 50 WHERE session_id = 'cs_disputed';
UPDATE links SET promotion_codes = 1;
INSERT INTO movements (payment_id, at, kind, reason, amount, currency, net, ref)
	SELECT id, 1763722698000, 'fee', 'charge', -20, 'eur', 330, 'txn_1' FROM payments WHERE session_id = 'cs_done';
INSERT INTO revenue (scale, dim, start, livemode, device_uid, plan, currency, payments, credits, failed, used_s, captured, refunded,
	lost, fees, net, hours, reasons) VALUES ('day', 'all', '2025-11-21', 0, '', '', 'eur', 9, 9, 1, 3600, 3150, 0, 0, 20, 330, '', '');
INSERT INTO revenue_stale (hour, marks) VALUES (489922, 2);
INSERT INTO payouts (id, livemode, at, arrival_at, amount, currency, status)
	VALUES ('po_1', 0, 1763722696000, 1763809096000, 330, 'eur', 'paid');
INSERT INTO goodwill_codes (digest, device_uid, site, price_id, payment_id, created_by, reason, created_at, expires_at)
	SELECT 'digest', 'dev:8', '', '', id, 'Ada', 'sorry', 1763722696000, 1764327496000 FROM payments WHERE session_id = 'cs_done';
INSERT INTO maintenance (device_uid, from_at, to_at, reason, planned_by, planned_at)
	VALUES ('dev:9', 1763722696000, 1763726296000, 'belt', 'Ada', 1763722696000);
INSERT INTO people (id, name, name_key, role, created_at, password, totp, totp_step)
	VALUES ('p1', 'Ada', 'ada', 'owner', 1763722696000, '$argon2id$', '', 0);
INSERT INTO recovery_codes (person_id, digest) VALUES ('p1', 'digest');
INSERT INTO passkeys (id, person_id, name, public_key, counter, backup, created_at)
	VALUES ('key', 'p1', 'Phone', 'a', 7, 1, 1763722696000);
INSERT INTO operator_sessions (id, person_id, since, until, seen_at, address, browser, way)
	VALUES ('digest', 'p1', 1763722696000, 1763809096000, 1763722696000, '192.0.2.1', 'Firefox', 'passkey');
INSERT INTO api_tokens (id, name, name_key, digest, role, created_at, created_by)
	VALUES ('t1', 'Report', 'report', 'digest', 'view', 1763722696000, 'Ada');
INSERT INTO sign_in_attempts (id, until) VALUES ('digest', 1763722699000);
