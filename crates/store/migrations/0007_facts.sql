-- What policies read of the world: which incidents there are, and who is on call.
CREATE TABLE incidents (
    id      TEXT PRIMARY KEY,
    state   TEXT NOT NULL CHECK (state IN ('open', 'closed')),
    version INTEGER NOT NULL,
    body    TEXT NOT NULL
) STRICT;
CREATE INDEX incidents_open ON incidents (id) WHERE state = 'open';

CREATE TABLE schedules (
    name    TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    body    TEXT NOT NULL
) STRICT;

-- A grant for an incident ends with it.
ALTER TABLE grants ADD COLUMN incident TEXT REFERENCES incidents (id);
CREATE INDEX grants_by_incident ON grants (incident) WHERE incident IS NOT NULL;
