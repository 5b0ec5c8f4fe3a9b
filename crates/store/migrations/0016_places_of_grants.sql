-- Where the log has the start of a grant: whoever sees the grant gets the proof of it.
CREATE INDEX events_that_start_grants ON events (json_extract(body, '$.grant'))
    WHERE json_extract(body, '$.type') = 'grant_started';
