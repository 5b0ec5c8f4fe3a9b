-- What was answered to a caller's own key: the same call again gets the same answer for a day.
CREATE TABLE answers (
    principal      TEXT NOT NULL,
    key            TEXT NOT NULL,
    asked          TEXT NOT NULL,
    access_request TEXT NOT NULL REFERENCES access_requests (id),
    at             INTEGER NOT NULL,
    PRIMARY KEY (principal, key)
) STRICT;
CREATE INDEX answers_by_time ON answers (at);
