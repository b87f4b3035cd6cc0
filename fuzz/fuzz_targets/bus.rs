//! Looks for bytes that break `properties::bus`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| properties::bus::hold(data));
