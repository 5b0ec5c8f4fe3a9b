-- What hands a sign-in from control to a gate, once. The code itself is nowhere.
CREATE TABLE sign_in_codes (
    code_hash  TEXT PRIMARY KEY,
    expires_at INTEGER NOT NULL,
    body       TEXT NOT NULL
) STRICT;

-- What may come once: the state of a browser's sign-in, the id of a logout token.
CREATE TABLE seen_once (
    hash       TEXT PRIMARY KEY,
    expires_at INTEGER NOT NULL
) STRICT;

-- When a browser's sign-in was last used, to the minute.
ALTER TABLE sign_ins ADD COLUMN seen_at INTEGER;

-- What the identity provider is asked with again, sealed. It ends with its sign-in.
CREATE TABLE provider_tokens (
    sign_in TEXT PRIMARY KEY,
    body    TEXT NOT NULL
) STRICT;
