-- What somebody took and nobody has reviewed since, among whatever many of others.
CREATE INDEX access_requests_to_review_afterwards_by_principal ON access_requests (principal, id) WHERE afterwards = 'open';
