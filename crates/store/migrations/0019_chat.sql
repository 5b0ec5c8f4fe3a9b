-- Messages in a chat about access requests: as long as there is something to say that they do not say.
CREATE TABLE chat_messages (
    id             TEXT PRIMARY KEY,
    access_request TEXT NOT NULL REFERENCES access_requests (id),
    place          TEXT NOT NULL,
    version        INTEGER NOT NULL,
    body           TEXT NOT NULL,
    UNIQUE (access_request, place)
) STRICT;

-- What their buttons carry, each good once.
CREATE TABLE chat_buttons (
    hash    TEXT PRIMARY KEY,
    message TEXT NOT NULL,
    body    TEXT NOT NULL
) STRICT;
CREATE INDEX chat_buttons_message ON chat_buttons (message);
