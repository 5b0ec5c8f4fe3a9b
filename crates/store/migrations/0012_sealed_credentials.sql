-- Sealed credentials: two people agree to each. Their private keys are nowhere here.
CREATE TABLE sealed_credentials (
    id       TEXT PRIMARY KEY,
    proposer TEXT NOT NULL REFERENCES people (id),
    sealer   TEXT REFERENCES people (id),
    state    TEXT NOT NULL CHECK (state IN ('proposed', 'sealed', 'revoked')),
    body     TEXT NOT NULL,
    CHECK (sealer IS NULL OR sealer <> proposer),
    CHECK (state <> 'sealed' OR sealer IS NOT NULL)
) STRICT;

-- The grants that openings came to.
CREATE TABLE sealed_uses (
    access_grant TEXT PRIMARY KEY REFERENCES grants (id),
    credential   TEXT NOT NULL
) STRICT;

-- How far the sealed log is read: the next entry, and the hash of the one before.
CREATE TABLE sealed_log (
    one    INTEGER PRIMARY KEY CHECK (one = 1),
    number INTEGER NOT NULL,
    before TEXT NOT NULL
) STRICT;
