-- What opens a machine that is a door or a locker. The code is kept no longer than it opens anything.
ALTER TABLE payments ADD COLUMN with_code INTEGER NOT NULL DEFAULT 0 CHECK (with_code IN (0, 1));
ALTER TABLE payments ADD COLUMN access_code TEXT NOT NULL DEFAULT '' CHECK (access_code = '' OR (with_code = 1 AND length(access_code) = 6));
