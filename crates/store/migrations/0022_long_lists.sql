-- Lists of houses that are old: what is read is what is shown.
CREATE INDEX principals_by_seen ON principals (seen_at, id);
CREATE INDEX access_requests_that_wait ON access_requests (id) WHERE state = 'pending';
CREATE INDEX access_requests_that_wait_by_principal ON access_requests (principal, id) WHERE state = 'pending';
CREATE INDEX grants_in_force_by_principal ON grants (principal, id) WHERE state = 'in_force';
