//! What came back from a server, in a form that can be compared: JSON without its spelling, ids masked, long packets shortened.

use serde_json::Value;

/// A longer packet is recorded by its beginning and its length.
const RECORDED_MAX_BYTES: usize = 400;

/// What one server answered, one entry a packet or an HTTP answer; equal ones in a row are counted.
#[derive(Default)]
pub struct Trace(Vec<(String, usize)>);

impl Trace {
    pub fn add(&mut self, what: impl Into<String>) {
        let what = what.into();
        match self.0.last_mut() {
            Some((last, count)) if *last == what => *count += 1,
            _ => self.0.push((what, 1)),
        }
    }

    pub fn packet(&mut self, packet: &str) {
        self.add(normal(packet));
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Drops what was added since, if it begins as was to be expected.
    pub fn forget(&mut self, since: usize, beginning: &str) {
        if self.0.get(since).is_some_and(|(what, _)| what.starts_with(beginning)) {
            self.0.truncate(since);
        }
    }

    /// The whole trace.
    pub fn line(self) -> String {
        let entry = |(what, count)| if count == 1 { what } else { format!("{what} ×{count}") };
        self.0.into_iter().map(entry).collect::<Vec<_>>().join(" | ")
    }
}

/// A packet as it is compared: JSON without its spelling, ids masked, long ones shortened.
pub fn normal(packet: &str) -> String {
    let start = packet.find(['[', '{']).unwrap_or(packet.len());
    let (head, json) = packet.split_at(start);
    let Ok(mut value) = serde_json::from_str::<Value>(json) else {
        return shortened(packet);
    };
    if (head == "0" || head.starts_with("40")) && value.get("sid").is_some() {
        value["sid"] = "<sid>".into();
    }
    shortened(&format!("{head}{value}"))
}

pub fn shortened(text: &str) -> String {
    let visible = |c: char| {
        if c.is_control() {
            c.escape_unicode().to_string()
        } else {
            c.to_string()
        }
    };
    if text.len() <= RECORDED_MAX_BYTES {
        return text.chars().map(visible).collect();
    }
    let start: String = text.chars().take(20).map(visible).collect();
    format!("{start}… {} bytes", text.len())
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
