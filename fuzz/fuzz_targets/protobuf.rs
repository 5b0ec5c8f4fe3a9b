//! See `portcullis_policy::fuzz::protobuf`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| portcullis_policy::fuzz::protobuf(bytes));
