-- What a holder hands to a tool, as hashes. A row stays after it was redeemed, until its grant ends, so
-- that a second attempt is known for what it is; `again` says that there was one.
CREATE TABLE one_time_tokens (
    token_hash   TEXT PRIMARY KEY,
    access_grant TEXT NOT NULL REFERENCES grants (id),
    expires_at   INTEGER NOT NULL,
    redeemed     INTEGER NOT NULL CHECK (redeemed IN (0, 1)),
    again        INTEGER NOT NULL CHECK (again IN (0, 1)),
    body         TEXT NOT NULL
) STRICT;
CREATE INDEX one_time_tokens_by_grant ON one_time_tokens (access_grant, expires_at);
CREATE INDEX one_time_tokens_by_end ON one_time_tokens (expires_at) WHERE redeemed = 0;

-- What opens one grant, as hashes. They end with it.
CREATE TABLE grant_tokens (
    token_hash   TEXT PRIMARY KEY,
    access_grant TEXT NOT NULL REFERENCES grants (id),
    body         TEXT NOT NULL
) STRICT;
CREATE INDEX grant_tokens_by_grant ON grant_tokens (access_grant);
