//! Looks for bytes that break `properties::events`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| properties::events::hold(data));
