//! Reads a client's WebSocket frames, in whatever pieces they come. Strict: masked, no reserved bits, bounded in bytes and
//! fragments, valid UTF-8; the one reserved bit of compression where it was negotiated. Between messages the decoder is one empty
//! pointer. Not here: writing, which is `frame`'s, and inflating itself (`deflate`).

use super::deflate::inflate;
use super::head::{Head, HeadBuffer, Opcode};

/// Bounds of one message.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Also what a compressed message may inflate to.
    pub message_bytes: usize,
    pub fragments: usize,
    /// Whether messages may be compressed.
    pub may_compress: bool,
}

impl Limits {
    /// Payload bytes of one message's frames. What cannot be compressed grows by it, in careless hands by a 32nd part.
    fn payload_bytes(self, is_compressed: bool) -> usize {
        let growth = if is_compressed { self.message_bytes / 32 + 32 } else { 0 };
        self.message_bytes + growth
    }
}

/// One message or control frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    /// The client's closing handshake, with its code.
    Close(Option<u16>),
}

/// Why the bytes are not what a client may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Violation {
    Protocol,
    InvalidUtf8,
    /// What is said to be compressed is not.
    Corrupt,
    TooLarge,
}

impl Violation {
    /// The WebSocket close code that tells the client.
    pub fn close_code(self) -> u16 {
        match self {
            Violation::Protocol => 1002,
            // The standard of compression names no code; this one is for data that are not what the message's type says.
            Violation::InvalidUtf8 | Violation::Corrupt => 1007,
            Violation::TooLarge => 1009,
        }
    }
}

/// The state between two pieces of input: nothing, unless a frame was cut or a message is fragmented.
#[derive(Debug, Default)]
pub struct Decoder {
    partial: Option<Box<Partial>>,
}

#[derive(Debug, Default)]
struct Partial {
    head: HeadBuffer,
    /// The frame whose payload is under way, and how much of it came.
    frame: Option<(Head, usize)>,
    /// Payload of a control frame under way.
    control: Vec<u8>,
    message: Option<Message>,
}

/// A data message under way.
#[derive(Debug)]
struct Message {
    is_text: bool,
    is_compressed: bool,
    /// As it came, so that a message under way needs no inflater of its own.
    data: Vec<u8>,
    fragments: usize,
    /// Bytes of `data` that are known to be UTF-8.
    valid: usize,
}

impl Decoder {
    /// Takes bytes from the front of `input`, which it unmasks in place, up to the end of one message or control frame.
    /// Returns how many it took and what they were; with `None` all of them were taken.
    pub fn next(&mut self, input: &mut [u8], limits: Limits) -> Result<(usize, Option<Item>), Violation> {
        if self.partial.is_none()
            && let Some((len, item)) = whole(input, limits)?
        {
            return Ok((len, Some(item)));
        }
        if input.is_empty() {
            return Ok((0, None));
        }
        let partial = self.partial.get_or_insert_default();
        let (len, item) = partial.next(input, limits)?;
        if partial.is_spent() {
            self.partial = None;
        }
        Ok((len, item))
    }

    /// Whether the input ended between two messages.
    #[cfg(test)]
    fn is_idle(&self) -> bool {
        self.partial.is_none()
    }
}

/// The usual case: a whole unfragmented frame lies in the input.
fn whole(input: &mut [u8], limits: Limits) -> Result<Option<(usize, Item)>, Violation> {
    let Some((head, head_len)) = Head::parse(input, limits.may_compress)? else {
        return Ok(None);
    };
    check_size(&head, 0, limits.payload_bytes(head.is_compressed))?;
    let end = head_len + head.len;
    if end > input.len() || (!head.fin && !head.opcode.is_control()) {
        return Ok(None);
    }
    let payload = &mut input[head_len..end];
    unmask(payload, head.mask, 0);
    let item = match head.opcode {
        Opcode::Text if head.is_compressed => Item::Text(text(inflate(payload, limits.message_bytes)?)?),
        Opcode::Binary if head.is_compressed => Item::Binary(inflate(payload, limits.message_bytes)?),
        Opcode::Text => {
            let text = simdutf8::basic::from_utf8(payload).map_err(|_| Violation::InvalidUtf8)?;
            Item::Text(text.to_owned())
        }
        Opcode::Binary => Item::Binary(payload.to_vec()),
        Opcode::Continuation => return Err(Violation::Protocol),
        control => control_item(control, payload.to_vec())?,
    };
    Ok(Some((end, item)))
}

impl Partial {
    fn is_spent(&self) -> bool {
        self.frame.is_none() && self.message.is_none() && self.head.is_empty()
    }

    fn next(&mut self, input: &mut [u8], limits: Limits) -> Result<(usize, Option<Item>), Violation> {
        let mut taken = 0;
        loop {
            let Some((head, have)) = self.frame else {
                let (len, head) = self.head.fill(&input[taken..], limits.may_compress)?;
                taken += len;
                match head {
                    Some(head) => self.begin(head, limits)?,
                    None => return Ok((taken, None)),
                }
                continue;
            };
            let len = (head.len - have).min(input.len() - taken);
            let piece = &mut input[taken..taken + len];
            unmask(piece, head.mask, have);
            self.target(head.opcode).extend_from_slice(piece);
            taken += len;
            if have + len < head.len {
                self.frame = Some((head, have + len));
                return Ok((taken, None));
            }
            self.frame = None;
            if let Some(item) = self.finish(head, limits)? {
                return Ok((taken, Some(item)));
            }
        }
    }

    fn begin(&mut self, head: Head, limits: Limits) -> Result<(), Violation> {
        let (so_far, is_compressed) = match &self.message {
            Some(message) => (message.data.len(), message.is_compressed),
            None => (0, head.is_compressed),
        };
        check_size(&head, so_far, limits.payload_bytes(is_compressed))?;
        match (head.opcode, &mut self.message) {
            (Opcode::Text | Opcode::Binary, None) => {
                self.message = Some(Message {
                    is_text: head.opcode == Opcode::Text,
                    is_compressed,
                    data: Vec::new(),
                    fragments: 1,
                    valid: 0,
                });
            }
            (Opcode::Continuation, Some(message)) if message.fragments < limits.fragments => {
                message.fragments += 1;
            }
            (Opcode::Continuation, Some(_)) => return Err(Violation::TooLarge),
            (opcode, _) if opcode.is_control() => {}
            _ => return Err(Violation::Protocol),
        }
        self.frame = Some((head, 0));
        Ok(())
    }

    fn target(&mut self, opcode: Opcode) -> &mut Vec<u8> {
        match &mut self.message {
            Some(message) if !opcode.is_control() => &mut message.data,
            _ => &mut self.control,
        }
    }

    /// A frame is complete: a control frame is an item, a data frame only when it is a message's last.
    fn finish(&mut self, head: Head, limits: Limits) -> Result<Option<Item>, Violation> {
        if head.opcode.is_control() {
            return control_item(head.opcode, std::mem::take(&mut self.control)).map(Some);
        }
        if let Some(message) = &mut self.message {
            message.check_utf8(head.fin)?;
        }
        let Some(message) = self.message.take_if(|_| head.fin) else {
            return Ok(None);
        };
        let data = if message.is_compressed {
            inflate(&message.data, limits.message_bytes)?
        } else {
            message.data
        };
        Ok(Some(if message.is_text {
            Item::Text(text(data)?)
        } else {
            Item::Binary(data)
        }))
    }
}

impl Message {
    /// Fails at the first frame that no text can contain; a character may be cut between two frames, not by the message's end.
    /// What is compressed is looked at when it is inflated.
    fn check_utf8(&mut self, last: bool) -> Result<(), Violation> {
        if !self.is_text || self.is_compressed {
            return Ok(());
        }
        match simdutf8::compat::from_utf8(&self.data[self.valid..]) {
            Ok(_) => self.valid = self.data.len(),
            Err(cut) if cut.error_len().is_none() && !last => self.valid += cut.valid_up_to(),
            Err(_) => return Err(Violation::InvalidUtf8),
        }
        Ok(())
    }
}

fn text(data: Vec<u8>) -> Result<String, Violation> {
    String::from_utf8(data).map_err(|_| Violation::InvalidUtf8)
}

fn check_size(head: &Head, so_far: usize, max: usize) -> Result<(), Violation> {
    if !head.opcode.is_control() && head.len > max.saturating_sub(so_far) {
        return Err(Violation::TooLarge);
    }
    Ok(())
}

fn control_item(opcode: Opcode, payload: Vec<u8>) -> Result<Item, Violation> {
    match opcode {
        Opcode::Ping => Ok(Item::Ping(payload)),
        Opcode::Pong => Ok(Item::Pong),
        _ => close_item(&payload),
    }
}

fn close_item(payload: &[u8]) -> Result<Item, Violation> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() {
            Ok(Item::Close(None))
        } else {
            Err(Violation::Protocol)
        };
    };
    let code = u16::from_be_bytes(*code);
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(Violation::Protocol);
    }
    simdutf8::basic::from_utf8(reason).map_err(|_| Violation::InvalidUtf8)?;
    Ok(Item::Close(Some(code)))
}

/// Takes the mask off a piece that starts `offset` bytes into its frame's payload.
fn unmask(piece: &mut [u8], mask: [u8; 4], offset: usize) {
    let mut turned = mask;
    turned.rotate_left(offset % 4);
    let [a, b, c, d] = turned;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let mut words = piece.chunks_exact_mut(8);
    for word in &mut words {
        let bytes: [u8; 8] = (&*word).try_into().expect("the chunks have 8 bytes");
        word.copy_from_slice(&(u64::from_ne_bytes(bytes) ^ wide).to_ne_bytes());
    }
    for (byte, key) in words.into_remainder().iter_mut().zip(turned.iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
