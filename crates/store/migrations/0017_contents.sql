-- What `@record` keeps of requests, encrypted. The record has the commitments and nothing else. `seq` is where
-- the log has the record that commits to it; null until that was seen.
CREATE TABLE contents (
    commitment TEXT PRIMARY KEY,
    request    TEXT NOT NULL,
    key        TEXT NOT NULL,
    kept_at    INTEGER NOT NULL,
    seq        INTEGER CHECK (seq >= 0),
    sealed     TEXT NOT NULL
) STRICT;

CREATE INDEX contents_without_record ON contents (kept_at) WHERE seq IS NULL;
CREATE INDEX contents_by_key ON contents (key);

-- What was erased, and by which event.
CREATE TABLE content_erasures (
    commitment TEXT PRIMARY KEY,
    event      TEXT NOT NULL,
    principal  TEXT NOT NULL,
    erased_at  INTEGER NOT NULL,
    reason     TEXT NOT NULL
) STRICT, WITHOUT ROWID;
