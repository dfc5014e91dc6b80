-- What instances of notepay tell each other. See changes.go. On SQLite there is one instance, and the tables stay empty.
CREATE TABLE changes (
	seq INTEGER PRIMARY KEY,
	at INTEGER NOT NULL,
	origin TEXT NOT NULL,
	kind TEXT NOT NULL,
	subject TEXT NOT NULL
) STRICT;
CREATE INDEX changes_at ON changes (at);

-- The operator's sign-ins, by a digest of the cookie.
CREATE TABLE sign_ins (
	id TEXT NOT NULL PRIMARY KEY,
	until INTEGER NOT NULL
) STRICT;
