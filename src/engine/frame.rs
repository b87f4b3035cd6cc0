//! One outgoing Engine.IO message, encoded once for all who get it: as a finished WebSocket frame, whose payload is also what
//! polling sends. Not here: reading frames (`websocket::codec`), and who gets them.

use std::fmt;
use std::sync::{Arc, OnceLock};

use super::websocket::deflate::{self, deflate};

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
/// In a header's first byte: the message is compressed.
const COMPRESSED: u8 = 0x40;
const LONGEST_HEADER: usize = 10;
// So that control frames, which may not be compressed, are none the worse for being asked.
const _: () = assert!(deflate::LEAST_BYTES > 125);

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

/// The shared part.
struct Encoded {
    plain: Vec<u8>,
    /// The same compressed, made once by the first connection that takes it so; `None` when that does not pay.
    compressed: OnceLock<Option<Box<[u8]>>>,
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

    /// The finished WebSocket frame, not compressed.
    pub(super) fn wire(&self) -> &[u8] {
        &self.0.plain
    }

    /// The finished WebSocket frame for a connection that takes it compressed, or does not. Public for `bench/micro` alone.
    #[doc(hidden)]
    pub fn wire_for(&self, compressed: bool) -> &[u8] {
        if compressed && self.packet_len() >= deflate::LEAST_BYTES {
            self.compressed().unwrap_or(self.wire())
        } else {
            self.wire()
        }
    }

    /// Who comes while it is being made waits for it: that takes no longer than making it.
    fn compressed(&self) -> Option<&[u8]> {
        let compress = || {
            let payload = deflate(self.payload())?;
            let frame = frame(self.wire()[0] | COMPRESSED, &payload, &[]);
            (frame.len() < self.wire().len()).then(|| frame.into())
        };
        self.0.compressed.get_or_init(compress).as_deref()
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
        Frame(Arc::new(Encoded {
            plain: frame(first, prefix, parts),
            compressed: OnceLock::new(),
            label: Label::default(),
        }))
    }
}

fn frame(first: u8, prefix: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let len = prefix.len() + parts.iter().map(|part| part.len()).sum::<usize>();
    let mut frame = Vec::with_capacity(len + LONGEST_HEADER);
    frame.push(first);
    match len {
        0..=125 => frame.push(len as u8),
        126..=0xFFFF => {
            frame.push(126);
            frame.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            frame.push(127);
            frame.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(prefix);
    parts.iter().for_each(|part| frame.extend_from_slice(part));
    frame
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
    fn what_pays_is_compressed_once_for_all_and_the_rest_is_left() {
        let frame = Frame::message(&"gateway ".repeat(100));
        let clone = frame.clone();
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let frame = frame.clone();
                std::thread::spawn(move || frame.wire_for(true).as_ptr() as usize)
            })
            .collect();
        let compressed = clone.wire_for(true);
        for thread in threads {
            assert_eq!(thread.join().unwrap(), compressed.as_ptr() as usize);
        }
        assert_eq!(compressed[0], TEXT | COMPRESSED);
        assert!(compressed.len() < 100);
        assert_eq!(frame.wire_for(false), frame.wire());
        assert_eq!(frame.packet_len(), 801);

        let short = Frame::message(&"x".repeat(deflate::LEAST_BYTES - 2));
        assert_eq!(short.wire_for(true).as_ptr(), short.wire().as_ptr());
        let long_enough = Frame::binary(&[0; deflate::LEAST_BYTES]);
        assert_eq!(long_enough.wire_for(true)[0], BINARY | COMPRESSED);
        let noise: Vec<u8> = (0..10_000).map(|_| rand::random()).collect();
        let noise = Frame::binary(&noise);
        assert_eq!(noise.wire_for(true).as_ptr(), noise.wire().as_ptr());
    }

    #[test]
    fn an_ack_carries_its_id() {
        assert_eq!(Frame::ack(7, "[1]").payload(), b"437[1]");
        assert!(Frame::binary(b"\x00").is_binary());
    }
}
