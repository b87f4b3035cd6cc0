//! What the fuzz targets look for holds for their corpus: what clients, Redis and operators send, and whatever broke it once.
//! The properties stand in fuzz/properties; `make fuzz` looks for more.

#[path = "../fuzz/properties/mod.rs"]
mod properties;

use std::fs;
use std::panic;
use std::path::Path;

/// Feeds each file of a target's corpus.
fn feed(target: &str, hold: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries = fs::read_dir(&corpus).expect("every target has a corpus");
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", corpus.display());
    let is_broken = |file: &&_| {
        let data = fs::read(file).unwrap();
        panic::catch_unwind(|| hold(&data)).is_err()
    };
    let broken: Vec<_> = files.iter().filter(is_broken).collect();
    assert!(broken.is_empty(), "the property does not hold for {broken:#?}");
}

#[test]
fn websocket_frames() {
    feed("websocket", properties::websocket::hold);
}

#[test]
fn polling_payloads() {
    feed("polling", properties::polling::hold);
}

#[test]
fn event_payloads() {
    feed("events", properties::events::hold);
}

#[test]
fn bus_frames() {
    feed("bus", properties::bus::hold);
}

#[test]
fn configurations() {
    feed("config", properties::config::hold);
}
