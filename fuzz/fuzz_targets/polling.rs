//! Looks for bytes that break `properties::polling`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| properties::polling::hold(data));
