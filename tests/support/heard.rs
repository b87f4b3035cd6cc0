//! What the bare client hears: packets, parsed by hand, apart from the gateway's own code.

use serde_json::Value;

/// One thing that a client heard.
#[derive(Debug, Clone)]
pub enum Heard {
    Connect(Value),
    ConnectError(Value),
    Event(String, Vec<Value>),
    Ack(u64, Value),
    /// A Socket.IO DISCONNECT: a stock client says "io server disconnect" and stays away.
    Disconnect,
    /// The transport is gone, and how.
    Closed(String),
    /// Anything else, as it came.
    Other(String),
}

/// Parses one Engine.IO packet of the namespace `/`.
pub fn parse(packet: &str) -> Heard {
    let other = || Heard::Other(packet.to_owned());
    let Some(rest) = packet.strip_prefix('4') else {
        return other();
    };
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap_or(Value::Null);
    match rest.split_at_checked(1) {
        Some((_, payload)) if payload.starts_with('/') => other(), // another namespace
        Some(("0", payload)) => Heard::Connect(json(payload)),
        Some(("1", "")) => Heard::Disconnect,
        Some(("4", payload)) => Heard::ConnectError(json(payload)),
        Some(("2", payload)) => match json(payload) {
            Value::Array(mut array) if array.first().is_some_and(Value::is_string) => {
                let args = array.split_off(1);
                Heard::Event(array[0].as_str().unwrap_or_default().to_owned(), args)
            }
            _ => other(),
        },
        Some(("3", payload)) => {
            let digits = payload.find(|c: char| !c.is_ascii_digit()).unwrap_or(payload.len());
            match payload[..digits].parse() {
                Ok(id) => Heard::Ack(id, json(&payload[digits..])[0].clone()),
                Err(_) => other(),
            }
        }
        _ => other(),
    }
}
