//! The head of one client frame: opcode, length, mask, and what makes it illegal by itself.

use super::Violation;

/// A client frame's longest head: 2 bytes, 8 of length, 4 of mask.
const LONGEST: usize = 14;
const RSV1: u8 = 0x40;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub fin: bool,
    /// RSV1: the message that begins here is compressed.
    pub is_compressed: bool,
    pub opcode: Opcode,
    pub len: usize,
    pub mask: [u8; 4],
}

/// A head that came in pieces.
#[derive(Debug, Default)]
pub(super) struct HeadBuffer {
    bytes: [u8; LONGEST],
    len: usize,
}

impl Opcode {
    pub fn is_control(self) -> bool {
        matches!(self, Opcode::Close | Opcode::Ping | Opcode::Pong)
    }

    fn begins_message(self) -> bool {
        matches!(self, Opcode::Text | Opcode::Binary)
    }

    fn parse(bits: u8) -> Result<Self, Violation> {
        match bits {
            0x0 => Ok(Opcode::Continuation),
            0x1 => Ok(Opcode::Text),
            0x2 => Ok(Opcode::Binary),
            0x8 => Ok(Opcode::Close),
            0x9 => Ok(Opcode::Ping),
            0xA => Ok(Opcode::Pong),
            _ => Err(Violation::Protocol),
        }
    }
}

impl Head {
    /// Reads a head and its length in bytes from the front of the input, `None` when it is not all there. What is illegal in
    /// the first two bytes is found as soon as they are there. `may_compress`: that was negotiated.
    pub fn parse(input: &[u8], may_compress: bool) -> Result<Option<(Head, usize)>, Violation> {
        let Some(([first, second], rest)) = input.split_first_chunk::<2>() else {
            return Ok(None);
        };
        let fin = first & 0x80 != 0;
        let opcode = Opcode::parse(first & 0x0F)?;
        let short_len = second & 0x7F;
        let is_masked = second & 0x80 != 0;
        let is_compressed = first & RSV1 != 0;
        let is_odd_compression = is_compressed && !(may_compress && opcode.begins_message());
        let has_reserved_bits = first & 0x30 != 0;
        let is_odd_control = opcode.is_control() && (!fin || short_len > 125);
        if has_reserved_bits || is_odd_compression || !is_masked || is_odd_control {
            return Err(Violation::Protocol);
        }
        let (len, rest) = match short_len {
            126 => match rest.split_first_chunk::<2>() {
                Some((len, rest)) => (u64::from(u16::from_be_bytes(*len)), rest),
                None => return Ok(None),
            },
            127 => match rest.split_first_chunk::<8>() {
                Some((len, rest)) => (u64::from_be_bytes(*len), rest),
                None => return Ok(None),
            },
            short => (u64::from(short), rest),
        };
        let Some((mask, rest)) = rest.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let head = Head {
            fin,
            is_compressed,
            opcode,
            len: usize::try_from(len).map_err(|_| Violation::TooLarge)?,
            mask: *mask,
        };
        Ok(Some((head, input.len() - rest.len())))
    }
}

impl HeadBuffer {
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes what the head still lacks from the front of the input; returns how much that was, and the head when it is whole.
    pub fn fill(&mut self, input: &[u8], may_compress: bool) -> Result<(usize, Option<Head>), Violation> {
        let before = self.len;
        let copied = input.len().min(LONGEST - before);
        self.bytes[before..before + copied].copy_from_slice(&input[..copied]);
        match Head::parse(&self.bytes[..before + copied], may_compress)? {
            Some((head, len)) => {
                self.len = 0;
                Ok((len - before, Some(head)))
            }
            None => {
                self.len = before + copied;
                Ok((copied, None))
            }
        }
    }
}
