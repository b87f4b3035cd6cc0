//! Looks for bytes that break `properties::config`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| properties::config::hold(data));
