-- How far a reader of the record has come: a sink, or the watch over alert rules.
CREATE TABLE export_cursors (
    reader TEXT PRIMARY KEY,
    next   INTEGER NOT NULL CHECK (next >= 0),
    said   INTEGER NOT NULL DEFAULT 0 CHECK (said IN (0, 1))
) STRICT;

-- What principals usually do, and where from, as far as alert rules ask. The row with an empty `what`
-- says since when somebody is known.
CREATE TABLE alert_habits (
    kind       TEXT NOT NULL,
    principal  TEXT NOT NULL,
    what       TEXT NOT NULL,
    first_seen INTEGER NOT NULL,
    last_seen  INTEGER NOT NULL,
    PRIMARY KEY (kind, principal, what)
) STRICT, WITHOUT ROWID;

-- When an alert rule last fired for what, and how often it held its tongue since.
CREATE TABLE alert_firings (
    rule       TEXT NOT NULL,
    about      TEXT NOT NULL,
    fired_at   INTEGER NOT NULL,
    suppressed INTEGER NOT NULL,
    PRIMARY KEY (rule, about)
) STRICT, WITHOUT ROWID;
