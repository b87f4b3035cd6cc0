//! One outgoing Engine.IO message, encoded once for all who get it: as a finished WebSocket frame, whose payload is also what
//! polling sends. Not here: reading frames (`websocket::codec`), and who gets them.

use std::fmt;
use std::sync::Arc;

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const LONGEST_HEADER: usize = 10;

/// Labels there are.
pub(super) const LABELS: usize = 32;

/// What the application counts a frame as; 0 is everything that it does not name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Label(u8);

impl Label {
    /// `None`: there are 32.
    pub const fn new(index: usize) -> Option<Self> {
        if index < LABELS { Some(Self(index as u8)) } else { None }
    }

    /// Position in [`super::Totals::labelled`].
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// One outgoing Engine.IO message, encoded and WebSocket-framed once; a clone is a reference count.
#[derive(Clone)]
pub struct Frame(Arc<Encoded>);

/// The shared part. A compressed form, made once by the first connection that negotiated it, will stand beside `plain`.
struct Encoded {
    plain: Vec<u8>,
    label: Label,
}

impl Frame {
    /// An Engine.IO message packet: `4` and the text.
    pub fn message(text: &str) -> Frame {
        Frame::text(&[b"4", text.as_bytes()])
    }

    /// An Engine.IO binary message.
    pub fn binary(data: &[u8]) -> Frame {
        Frame::framed(BINARY, data, &[])
    }

    /// A Socket.IO EVENT in namespace `/`; `array` is a JSON array that starts with the event's name.
    pub fn event(array: &str) -> Frame {
        Frame::text(&[b"42", array.as_bytes()])
    }

    /// The same from pieces, which together are the array, without joining them first.
    pub fn event_parts(parts: &[&[u8]]) -> Frame {
        Frame::framed(TEXT, b"42", parts)
    }

    /// A Socket.IO ACK in namespace `/`; `array` is the JSON array of the answer's arguments.
    pub fn ack(id: u64, array: &str) -> Frame {
        Frame::text(&[b"43", id.to_string().as_bytes(), array.as_bytes()])
    }

    /// Has it counted as that. A frame that is shared already keeps its label.
    pub fn labelled(mut self, label: Label) -> Frame {
        if let Some(encoded) = Arc::get_mut(&mut self.0) {
            encoded.label = label;
        }
        self
    }

    /// Bytes of the Engine.IO packet, as it stands in a WebSocket message.
    pub fn packet_len(&self) -> usize {
        self.wire().len() - self.header_len()
    }

    pub(super) fn label(&self) -> Label {
        self.0.label
    }

    /// A WebSocket pong's first byte.
    pub(super) const PONG: u8 = 0x8A;
    const CLOSE: u8 = 0x88;

    /// A WebSocket control frame; its payload is at most 125 bytes, as that of the frame it answers.
    pub(super) fn control(first: u8, payload: &[u8]) -> Frame {
        Frame::framed(first, payload, &[])
    }

    /// WebSocket's farewell.
    pub(super) fn close(code: u16) -> Frame {
        Frame::framed(Frame::CLOSE, &code.to_be_bytes(), &[])
    }

    /// An Engine.IO packet from pieces, its type included.
    pub(super) fn text(parts: &[&[u8]]) -> Frame {
        Frame::framed(TEXT, b"", parts)
    }

    /// The finished WebSocket frame.
    pub(super) fn wire(&self) -> &[u8] {
        &self.0.plain
    }

    /// The Engine.IO packet without WebSocket's header.
    pub(super) fn payload(&self) -> &[u8] {
        &self.wire()[self.header_len()..]
    }

    /// By the whole length alone, so that counting bytes need not touch them.
    fn header_len(&self) -> usize {
        match self.wire().len() {
            0..=127 => 2,
            128..=0x1_0003 => 4,
            _ => LONGEST_HEADER,
        }
    }

    pub(super) fn is_binary(&self) -> bool {
        self.wire()[0] == BINARY
    }

    fn framed(first: u8, prefix: &[u8], parts: &[&[u8]]) -> Frame {
        let len = prefix.len() + parts.iter().map(|part| part.len()).sum::<usize>();
        let mut plain = Vec::with_capacity(len + LONGEST_HEADER);
        plain.push(first);
        match len {
            0..=125 => plain.push(len as u8),
            126..=0xFFFF => {
                plain.push(126);
                plain.extend_from_slice(&(len as u16).to_be_bytes());
            }
            _ => {
                plain.push(127);
                plain.extend_from_slice(&(len as u64).to_be_bytes());
            }
        }
        plain.extend_from_slice(prefix);
        parts.iter().for_each(|part| plain.extend_from_slice(part));
        let label = Label::default();
        Frame(Arc::new(Encoded { plain, label }))
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_binary() { "binary" } else { "text" };
        write!(f, "Frame({kind}, {} bytes)", self.packet_len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payload_is_found_behind_every_header_length() {
        for len in [0, 1, 124, 125, 126, 65_534, 65_535, 65_536, 100_000] {
            let text = "x".repeat(len);
            let frame = Frame::message(&text);
            assert_eq!(frame.packet_len(), len + 1);
            assert_eq!(&frame.payload()[1..], text.as_bytes());
            assert_eq!(frame.payload()[0], b'4');
            assert!(!frame.is_binary());
        }
    }

    #[test]
    fn an_event_from_parts_equals_the_event_from_one_text() {
        let whole = Frame::event(r#"["a",{"b":1}]"#);
        let parts = Frame::event_parts(&[br#"["a","#, br#"{"b":1}"#, b"]"]);
        assert_eq!(whole.wire(), parts.wire());
        assert_eq!(whole.payload(), br#"42["a",{"b":1}]"#);
    }

    #[test]
    fn an_ack_carries_its_id() {
        assert_eq!(Frame::ack(7, "[1]").payload(), b"437[1]");
        assert!(Frame::binary(b"\x00").is_binary());
    }
}
