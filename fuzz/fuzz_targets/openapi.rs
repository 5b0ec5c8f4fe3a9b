//! See `portcullis_policy::fuzz::openapi`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| portcullis_policy::fuzz::openapi(bytes));
