-- Reviewers' passkeys: public halves only. One authenticator's credential belongs to one principal.
CREATE TABLE passkeys (
    id         TEXT PRIMARY KEY,
    credential TEXT NOT NULL UNIQUE,
    principal  TEXT NOT NULL REFERENCES principals (id),
    counter    INTEGER NOT NULL,
    body       TEXT NOT NULL
) STRICT;
CREATE INDEX passkeys_by_principal ON passkeys (principal, id);

-- What a passkey was asked to sign; deleted when it is answered, rightly or not.
CREATE TABLE challenges (
    hash       TEXT PRIMARY KEY,
    principal  TEXT NOT NULL REFERENCES principals (id),
    expires_at INTEGER NOT NULL,
    body       TEXT NOT NULL
) STRICT;
CREATE INDEX challenges_by_principal ON challenges (principal, expires_at);
CREATE INDEX challenges_by_end ON challenges (expires_at);
