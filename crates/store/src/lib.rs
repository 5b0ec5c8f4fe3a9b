//! The only SQL: access requests, grants, sign-ins, events and their outbox.
