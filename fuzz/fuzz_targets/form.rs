//! See `portcullis_policy::fuzz::form`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| portcullis_policy::fuzz::form(bytes));
