//! See `portcullis_proxy::fuzz::proxy`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| portcullis_proxy::fuzz::proxy(bytes));
