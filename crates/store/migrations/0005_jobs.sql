-- Job tokens that were exchanged, as hashes, until they would not be accepted anyway.
CREATE TABLE spent_job_tokens (
    key   TEXT PRIMARY KEY,
    until INTEGER NOT NULL
) STRICT;
CREATE INDEX spent_job_tokens_by_time ON spent_job_tokens (until);

-- The directory that an identity provider keeps by SCIM. A user who was deleted stays as somebody who
-- must not sign in, until they are made anew.
CREATE TABLE directory_users (
    id          TEXT PRIMARY KEY,
    user_name   TEXT NOT NULL,
    principal   TEXT,
    email       TEXT,
    active      INTEGER NOT NULL,
    deleted     INTEGER NOT NULL,
    version     INTEGER NOT NULL,
    body        TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX directory_users_by_name ON directory_users (user_name) WHERE deleted = 0;
CREATE INDEX directory_users_barred ON directory_users (principal, email) WHERE active = 0;

CREATE TABLE directory_groups (
    id      TEXT PRIMARY KEY,
    name    TEXT NOT NULL UNIQUE,
    version INTEGER NOT NULL,
    body    TEXT NOT NULL
) STRICT;
