-- What receivers did not take in the end: set aside, so that what comes after it goes on.
CREATE TABLE undelivered (
    id       TEXT PRIMARY KEY,
    receiver TEXT NOT NULL,
    message  TEXT NOT NULL,
    attempts INTEGER NOT NULL CHECK (attempts > 0),
    body     TEXT NOT NULL,
    UNIQUE (receiver, message)
) STRICT;
