-- When a grant that ends unused was last used, about.
ALTER TABLE grants ADD COLUMN used_at INTEGER;

-- Whom to tell of an access request, and when; deleted once they were told, or need not be any more.
CREATE TABLE notices (
    id             TEXT PRIMARY KEY,
    access_request TEXT NOT NULL REFERENCES access_requests (id),
    attempts       INTEGER NOT NULL,
    body           TEXT NOT NULL
) STRICT;
