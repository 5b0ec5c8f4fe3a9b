//! Portcullis: a microservices access proxy with just-in-time access.
fn main() {}
