-- Whether a grant token is worth nothing without a key of whoever redeemed it; which one is in `body`. A
-- version that knows nothing of keys must not take such a token for one of a bearer, and does not open
-- a store with this migration.
ALTER TABLE grant_tokens ADD COLUMN bound INTEGER NOT NULL DEFAULT 0 CHECK (bound IN (0, 1));
