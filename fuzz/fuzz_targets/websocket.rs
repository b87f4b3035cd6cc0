//! Looks for bytes that break `properties::websocket`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| properties::websocket::hold(data));
