//! See `portcullis_proxy::fuzz::masking`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| portcullis_proxy::fuzz::masking::masking(bytes));
