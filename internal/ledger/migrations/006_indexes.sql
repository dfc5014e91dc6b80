-- Earlier versions changed 001 and 002 in place. A ledger that had seen the older text has indexes which its queries do not use any more.
-- Each of these is now as a new ledger has it.
DROP INDEX payments_fresh;
CREATE INDEX payments_fresh ON payments (due_at) WHERE (step = 'note' OR step = 'check_pending' OR step = 'recall') AND failures = 0;
DROP INDEX payments_again;
CREATE INDEX payments_again ON payments (due_at) WHERE (step = 'note' OR step = 'check_pending' OR step = 'recall') AND failures > 0;
DROP INDEX IF EXISTS payments_money;
CREATE INDEX payments_money ON payments (due_at) WHERE (step = 'capture' OR step = 'release' OR step = 'refund');
DROP INDEX IF EXISTS payments_timed;
CREATE INDEX payments_timed ON payments (due_at) WHERE step = 'wait';
DROP INDEX payments_in_flight;
CREATE INDEX payments_in_flight ON payments (device_uid, due_at) WHERE in_flight = 1;
DROP INDEX payments_money_moved;
CREATE INDEX payments_money_moved ON payments (created_at, id) WHERE money <> 'authorized' AND money <> 'capturing' AND money <> 'paid';
