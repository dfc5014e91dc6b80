-- needs: 066
-- Planned maintenance, in which a machine sells nothing. At most one row a device; one that is over stays until the next.
CREATE TABLE maintenance (
	device_uid TEXT NOT NULL PRIMARY KEY,
	from_at    INTEGER NOT NULL,
	to_at      INTEGER NOT NULL,
	reason     TEXT NOT NULL,
	planned_by TEXT NOT NULL,
	planned_at INTEGER NOT NULL
) STRICT;
