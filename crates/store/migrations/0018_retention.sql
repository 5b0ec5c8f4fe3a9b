-- Legal holds. None is ever deleted: how many there are tells whether one was placed meanwhile.
CREATE TABLE legal_holds (
    id    TEXT PRIMARY KEY,
    state TEXT NOT NULL CHECK (state IN ('in_force', 'released')),
    body  TEXT NOT NULL
) STRICT;

-- A removal that is on record, or on its way there, and not done yet: the event that says so.
CREATE TABLE removal_under_way (
    one   INTEGER PRIMARY KEY CHECK (one = 1),
    event TEXT NOT NULL
) STRICT;
