//! WebSocket frames of text, as far as a bench needs them: whole messages, no extension. Not here: sockets.

/// Any key will do, but one of zeros would spare servers the work of unmasking.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const TEXT: u8 = 0x81;
const MASKED: u8 = 0x80;

/// What stands before a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub opcode: u8,
    /// Bytes before the payload.
    pub length: usize,
    pub payload: usize,
    mask: Option<[u8; 4]>,
}

impl Head {
    pub const CLOSE: u8 = 8;
    pub const PING: u8 = 9;

    /// `None` when more bytes have to come.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (&first, &second) = (bytes.first()?, bytes.get(1)?);
        let (length, payload) = match second & !MASKED {
            126 => (4, u64::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?))),
            127 => (10, u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?)),
            short => (2, u64::from(short)),
        };
        let is_masked = second & MASKED != 0;
        let mask = if is_masked {
            Some(*bytes.get(length..)?.first_chunk()?)
        } else {
            None
        };
        Some(Self {
            opcode: first & 0x0f,
            length: length + if is_masked { 4 } else { 0 },
            payload: usize::try_from(payload).expect("frames of a bench are small"),
            mask,
        })
    }

    /// Takes the mask off a payload, where there is one.
    pub fn unmask(&self, payload: &mut [u8]) {
        if let Some(mask) = self.mask {
            apply(mask, payload);
        }
    }
}

/// Appends a client's frame.
pub fn put_masked(payload: &[u8], into: &mut Vec<u8>) {
    put_head(payload.len(), MASKED, into);
    into.extend_from_slice(&MASK);
    let start = into.len();
    into.extend_from_slice(payload);
    apply(MASK, &mut into[start..]);
}

/// Appends a server's frame.
pub fn put_plain(payload: &[u8], into: &mut Vec<u8>) {
    put_head(payload.len(), 0, into);
    into.extend_from_slice(payload);
}

fn put_head(length: usize, masked: u8, into: &mut Vec<u8>) {
    into.push(TEXT);
    match length {
        ..126 => into.push(masked | length as u8),
        _ => {
            into.push(masked | 126);
            let length = u16::try_from(length).expect("frames of a bench are small");
            into.extend_from_slice(&length.to_be_bytes());
        }
    }
}

fn apply(mask: [u8; 4], payload: &mut [u8]) {
    for four in payload.chunks_mut(4) {
        four.iter_mut().zip(mask).for_each(|(byte, key)| *byte ^= key);
    }
}
