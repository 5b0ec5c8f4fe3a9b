-- Aggregates are JSON in `body`; beside it stands what guards and queries need, and nothing else.
-- Times are microseconds since 1970 in UTC.

CREATE TABLE people (
    id    TEXT PRIMARY KEY,
    email TEXT UNIQUE
) STRICT;

CREATE TABLE principals (
    id      TEXT PRIMARY KEY,
    person  TEXT REFERENCES people (id),
    seen_at INTEGER NOT NULL,
    body    TEXT NOT NULL
) STRICT;

-- A sign-in that ended is deleted; its history is in the record.
CREATE TABLE sign_ins (
    id         TEXT PRIMARY KEY,
    token_hash TEXT NOT NULL UNIQUE,
    principal  TEXT NOT NULL REFERENCES principals (id),
    parent     TEXT,
    expires_at INTEGER NOT NULL,
    body       TEXT NOT NULL
) STRICT;
CREATE INDEX sign_ins_by_parent ON sign_ins (parent) WHERE parent IS NOT NULL;

CREATE TABLE devices (
    token_hash TEXT PRIMARY KEY,
    expires_at INTEGER NOT NULL,
    body       TEXT NOT NULL
) STRICT;

CREATE TABLE access_requests (
    id         TEXT PRIMARY KEY,
    principal  TEXT NOT NULL,
    service    TEXT NOT NULL,
    asked      TEXT NOT NULL,
    state      TEXT NOT NULL CHECK (state IN ('pending', 'approved', 'declined', 'withdrawn', 'expired')),
    reviews    INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    body       TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX access_requests_asked_once ON access_requests (principal, asked) WHERE state = 'pending';
CREATE INDEX access_requests_by_principal ON access_requests (principal, id);
CREATE INDEX access_requests_pending ON access_requests (expires_at) WHERE state = 'pending';

-- One person counts once, whatever the code above says.
CREATE TABLE reviews (
    id             TEXT PRIMARY KEY,
    access_request TEXT NOT NULL REFERENCES access_requests (id),
    person         TEXT NOT NULL REFERENCES people (id),
    decision       TEXT NOT NULL CHECK (decision IN ('approve', 'decline')),
    at             INTEGER NOT NULL,
    UNIQUE (access_request, person)
) STRICT;

CREATE TABLE grants (
    id             TEXT PRIMARY KEY,
    access_request TEXT NOT NULL REFERENCES access_requests (id),
    principal      TEXT NOT NULL,
    service        TEXT NOT NULL,
    state          TEXT NOT NULL CHECK (state IN ('in_force', 'ended')),
    version        INTEGER NOT NULL,
    expires_at     INTEGER NOT NULL,
    body           TEXT NOT NULL
) STRICT;
CREATE INDEX grants_by_principal ON grants (principal, id);
CREATE INDEX grants_in_force ON grants (expires_at) WHERE state = 'in_force';

-- One request spends at most one use of one grant.
CREATE TABLE grant_uses (
    access_grant TEXT NOT NULL REFERENCES grants (id),
    request      TEXT NOT NULL,
    at           INTEGER NOT NULL,
    PRIMARY KEY (access_grant, request)
) STRICT;

CREATE TABLE refusals (
    principal TEXT NOT NULL,
    id        TEXT NOT NULL,
    time      INTEGER NOT NULL,
    body      TEXT NOT NULL,
    PRIMARY KEY (principal, id)
) STRICT;
CREATE INDEX refusals_by_time ON refusals (time);

CREATE TABLE bundles (
    generation INTEGER PRIMARY KEY,
    digest     TEXT NOT NULL,
    body       TEXT NOT NULL
) STRICT;

-- The way to the log: `log_position` is set once, when the log has it.
CREATE TABLE events (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT NOT NULL UNIQUE,
    body         TEXT NOT NULL,
    log_position INTEGER UNIQUE
) STRICT;
CREATE INDEX events_to_be_logged ON events (seq) WHERE log_position IS NULL;
