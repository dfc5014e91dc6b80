-- What the built-in HTTPS keeps: the certificate with its private key, the account at the certificate authority, and the answers to
-- its challenges. It is in the ledger so that every instance on one database serves the same certificate.
CREATE TABLE certificates (
	name  TEXT NOT NULL PRIMARY KEY,
	value TEXT NOT NULL,
	at    INTEGER NOT NULL
) STRICT;
