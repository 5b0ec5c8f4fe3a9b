-- Emergencies are granted at once; each is an open item until somebody has reviewed it afterwards.
ALTER TABLE access_requests ADD COLUMN afterwards TEXT CHECK (afterwards IN ('open', 'reviewed'));
CREATE INDEX access_requests_to_review_afterwards ON access_requests (id) WHERE afterwards = 'open';
