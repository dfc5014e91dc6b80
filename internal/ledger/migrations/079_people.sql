-- needs: 050
-- The people who may use the console. They are disabled, not removed, so that a name in the audit stays the name of one person.
CREATE TABLE people (
	id           TEXT NOT NULL PRIMARY KEY,
	name         TEXT NOT NULL,
	name_key     TEXT NOT NULL UNIQUE,  -- the name in the form in which names are compared
	role         TEXT NOT NULL CHECK (role IN ('view', 'support', 'owner')),
	created_at   INTEGER NOT NULL,
	disabled_at  INTEGER,               -- NULL: may sign in
	password     TEXT NOT NULL,         -- an Argon2id hash, '' for none
	totp         TEXT NOT NULL,         -- the secret of the authenticator app, '' for none
	totp_step    INTEGER NOT NULL,      -- the step of the last code that counted
	invite       TEXT UNIQUE,           -- a digest of the open invitation; NULL: there is none
	invite_until INTEGER
) STRICT;

-- By a digest of each.
CREATE TABLE recovery_codes (
	person_id TEXT NOT NULL REFERENCES people (id),
	digest    TEXT NOT NULL,
	PRIMARY KEY (person_id, digest)
) STRICT;

CREATE TABLE passkeys (
	id         TEXT NOT NULL PRIMARY KEY, -- the browser's name for it, in base 64
	person_id  TEXT NOT NULL REFERENCES people (id),
	name       TEXT NOT NULL,
	public_key TEXT NOT NULL,             -- SubjectPublicKeyInfo, in base 64
	counter    INTEGER NOT NULL,
	backup     INTEGER NOT NULL CHECK (backup IN (0, 1)), -- the device may copy it
	created_at INTEGER NOT NULL,
	used_at    INTEGER                    -- NULL: never
) STRICT;
CREATE INDEX passkeys_of_person ON passkeys (person_id);

-- Who is signed in, by a digest of the cookie. Programs of before this migration use sign_ins, where each row has all rights.
CREATE TABLE operator_sessions (
	id        TEXT NOT NULL PRIMARY KEY,
	person_id TEXT REFERENCES people (id), -- NULL: signed in with OPERATOR_TOKEN
	since     INTEGER NOT NULL,
	until     INTEGER NOT NULL,
	seen_at   INTEGER NOT NULL,
	address   TEXT NOT NULL,
	browser   TEXT NOT NULL,
	way       TEXT NOT NULL               -- 'token', 'password', 'recovery' or 'passkey'
) STRICT;
CREATE INDEX operator_sessions_of_person ON operator_sessions (person_id);
CREATE INDEX operator_sessions_until ON operator_sessions (until);

-- The tokens of programs.
CREATE TABLE api_tokens (
	id         TEXT NOT NULL PRIMARY KEY,
	name       TEXT NOT NULL,
	name_key   TEXT NOT NULL UNIQUE,
	digest     TEXT NOT NULL UNIQUE,
	role       TEXT NOT NULL CHECK (role IN ('view', 'support', 'owner')),
	created_at INTEGER NOT NULL,
	created_by TEXT NOT NULL,
	used_at    INTEGER,                   -- NULL: never
	revoked_at INTEGER                    -- NULL: valid
) STRICT;

-- Attempts to sign in, by a digest of the person and the address: when the last of them no longer counts.
CREATE TABLE sign_in_attempts (
	id    TEXT NOT NULL PRIMARY KEY,
	until INTEGER NOT NULL
) STRICT;
CREATE INDEX sign_in_attempts_until ON sign_in_attempts (until);
