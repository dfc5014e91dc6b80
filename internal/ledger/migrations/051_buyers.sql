-- Whose open session it is, so that a browser that meets several instances has one for each machine and plan. Empty when it has ended, and for sessions of before.
ALTER TABLE sessions ADD COLUMN browser TEXT NOT NULL DEFAULT '';
ALTER TABLE sessions ADD COLUMN url TEXT NOT NULL DEFAULT '';
-- 0: it may be paid. 1: its browser has another one, so it has to be expired. 2: it can be paid no more.
ALTER TABLE sessions ADD COLUMN ending INTEGER NOT NULL DEFAULT 0 CHECK (ending IN (0, 1, 2));
CREATE UNIQUE INDEX sessions_of_buyer ON sessions (browser, device_uid, price_id) WHERE ending = 0 AND browser <> '';
