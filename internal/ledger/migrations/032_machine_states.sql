-- What a machine last said about itself without a credit: out of order, or ready again. At most one row a device.
CREATE TABLE machine_states (
	device_uid TEXT NOT NULL PRIMARY KEY,
	is_out     INTEGER NOT NULL CHECK (is_out IN (0, 1)),
	code       TEXT NOT NULL,    -- the machine's own, such as E-DOOR
	at         INTEGER NOT NULL, -- when the machine said so, or the operator resumed sales
	received   INTEGER NOT NULL  -- when Notehub received it: the order of notes of the same second
) STRICT;
