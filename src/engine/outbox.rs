//! What waits to be written to one connection: shared frames, bounded by count and by the bytes that hold them. Both transports
//! take from it.

use std::collections::VecDeque;
use std::io::IoSlice;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::Frame;

const PACKET_SEPARATOR: u8 = 0x1e;
/// Packets in one answer to a poll: python-engineio's stock client gives its transport up when there are more
/// (`Payload.max_decode_packets`). The next poll brings the rest.
const PACKETS_PER_POLL: usize = 16;
/// Frames that an empty queue may keep room for.
const KEPT_ROOM: usize = 8;
/// No bound of bytes is higher, so that they can be counted in 32 bits.
const MOST_BYTES: usize = 1 << 31;

/// Which waiting frames a new one stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    /// None: every frame counts.
    Unique,
    /// A WebSocket pong; only the last ping needs one.
    Pong,
    /// The application's key: only the newest counts.
    Latest(u64),
}

/// The queue is at its bound.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: VecDeque<(Key, Frame)>,
    /// Bytes of all waiting frames, the written part of the first included; not compressed, since they are held so in any case.
    bytes: u32,
    /// How many fewer they are as they are written.
    saved: u32,
    /// Bytes of the first frame that are written.
    written: u32,
    /// The connection takes frames compressed, where that pays.
    is_compressed: bool,
}

impl Outbox {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// From now on frames are counted and written compressed, where that pays, or not. Only while none is written in part.
    pub(super) fn compress(&mut self, is_compressed: bool) {
        debug_assert!(!self.is_cut(), "half a frame of each kind is none");
        self.is_compressed = is_compressed;
        self.saved = self.waiting.iter().map(|(_, frame)| count(self.saved(frame))).sum();
    }

    /// Bytes that a frame takes of this connection.
    fn len_of(&self, frame: &Frame) -> usize {
        frame.wire_for(self.is_compressed).len()
    }

    /// Bytes that compression saves of a frame.
    pub(super) fn saved(&self, frame: &Frame) -> usize {
        frame.wire().len() - self.len_of(frame)
    }

    fn count_in(&mut self, frame: &Frame) {
        self.bytes += count(frame.wire().len());
        self.saved += count(self.saved(frame));
    }

    fn count_out(&mut self, frame: &Frame) {
        self.bytes -= count(frame.wire().len());
        self.saved -= count(self.saved(frame));
    }

    /// How many frames wait, and the bytes that will be written of them.
    pub(super) fn depth(&self) -> (u32, u32) {
        (count(self.waiting.len()), self.bytes - self.saved)
    }

    /// Appends a frame, unless one of the two bounds is reached.
    pub(super) fn push(&mut self, key: Key, frame: Frame, max_frames: usize, max_bytes: usize) -> Result<(), Full> {
        let bytes = self.bytes as usize + frame.wire().len();
        if self.waiting.len() >= max_frames || bytes > max_bytes.min(MOST_BYTES) {
            return Err(Full);
        }
        self.count_in(&frame);
        self.waiting.push_back((key, frame));
        Ok(())
    }

    /// Puts the frame in the place of a waiting one of the same key, of which nothing is written yet. False if there is none.
    pub(super) fn replace(&mut self, key: Key, frame: &Frame) -> bool {
        let begun = usize::from(self.written > 0);
        let mut unwritten = self.waiting.iter_mut().skip(begun);
        let Some((_, old)) = unwritten.find(|(other, _)| *other == key) else {
            return false;
        };
        let old = std::mem::replace(old, frame.clone());
        self.count_out(&old);
        self.count_in(frame);
        true
    }

    /// Puts the frame before all of which nothing is written yet.
    pub(super) fn push_first(&mut self, key: Key, frame: Frame) {
        self.count_in(&frame);
        let begun = usize::from(self.written > 0);
        self.waiting.insert(begun, (key, frame));
    }

    /// Appends the frame that ends everything; the bounds are no concern any more.
    pub(super) fn push_last(&mut self, frame: Frame) {
        self.count_in(&frame);
        self.waiting.push_back((Key::Unique, frame));
    }

    /// What is to be written next, where that is one frame.
    pub(super) fn only(&self) -> Option<&[u8]> {
        let (_, frame) = self.waiting.front().filter(|_| self.waiting.len() == 1)?;
        Some(&frame.wire_for(self.is_compressed)[self.written as usize..])
    }

    /// Fills `slices` with what is to be written next; returns how many it filled.
    pub(super) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut written = self.written as usize;
        let mut count = 0;
        for (slice, (_, frame)) in slices.iter_mut().zip(&self.waiting) {
            *slice = IoSlice::new(&frame.wire_for(self.is_compressed)[written..]);
            written = 0;
            count += 1;
        }
        count
    }

    /// Notes that `len` bytes are written; returns how many frames that completed.
    pub(super) fn advance(&mut self, len: usize) -> usize {
        let mut completed = 0;
        let mut written = self.written as usize + len;
        while let Some(len) = self.waiting.front().map(|(_, frame)| self.len_of(frame))
            && len <= written
            && let Some((_, frame)) = self.waiting.pop_front()
        {
            written -= len;
            self.count_out(&frame);
            completed += 1;
        }
        self.written = count(written);
        if self.waiting.is_empty() && self.waiting.capacity() > KEPT_ROOM {
            self.waiting = VecDeque::new();
        }
        completed
    }

    /// Whether a frame is written in part, so that no other may follow yet.
    pub(super) fn is_cut(&self) -> bool {
        self.written > 0
    }

    /// What waits, or the first part of it, as one polling payload, and how many frames that was.
    pub(super) fn take_payload(&mut self) -> (Vec<u8>, usize) {
        debug_assert!(!self.is_cut(), "only a WebSocket takes a part of a frame");
        debug_assert!(!self.is_compressed, "only a WebSocket takes frames compressed");
        let count = self.waiting.len().min(PACKETS_PER_POLL);
        // A frame's header has the room that the separator needs.
        let bytes: usize = self
            .waiting
            .iter()
            .take(count)
            .map(|(_, frame)| frame.wire().len())
            .sum();
        let mut payload = Vec::with_capacity(bytes);
        self.bytes -= self::count(bytes);
        for (_, frame) in self.waiting.drain(..count) {
            if !payload.is_empty() {
                payload.push(PACKET_SEPARATOR);
            }
            if frame.is_binary() {
                payload.push(b'b');
                payload.extend_from_slice(BASE64_STANDARD.encode(frame.payload()).as_bytes());
            } else {
                payload.extend_from_slice(frame.payload());
            }
        }
        if self.waiting.is_empty() {
            self.clear();
        }
        (payload, count)
    }

    pub(super) fn clear(&mut self) {
        *self = Self {
            is_compressed: self.is_compressed,
            ..Self::default()
        };
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).expect("no queue of a connection holds 4 GB")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox(texts: &[&str]) -> Outbox {
        let mut outbox = Outbox::default();
        for text in texts {
            push(&mut outbox, Key::Unique, text);
        }
        outbox
    }

    fn push(outbox: &mut Outbox, key: Key, text: &str) {
        outbox.push(key, Frame::message(text), 100, 1_000).unwrap();
    }

    fn written(outbox: &mut Outbox) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 16];
        let count = outbox.slices(&mut slices);
        let bytes = slices[..count]
            .iter()
            .fold(Vec::new(), |all, slice| [&all, &**slice].concat());
        outbox.advance(bytes.len());
        bytes
    }

    #[test]
    fn both_bounds_hold() {
        let mut outbox = Outbox::default();
        let frame = Frame::message("abc"); // 6 bytes with its header
        assert_eq!(outbox.push(Key::Unique, frame.clone(), 2, 12), Ok(()));
        assert_eq!(outbox.push(Key::Unique, frame.clone(), 1, 12), Err(Full));
        assert_eq!(outbox.push(Key::Unique, frame.clone(), 2, 11), Err(Full));
        assert_eq!(outbox.push(Key::Unique, frame.clone(), 2, 12), Ok(()));
        outbox.advance(6);
        assert_eq!(outbox.push(Key::Unique, frame, 2, 12), Ok(()));
    }

    #[test]
    fn a_partial_write_goes_on_where_it_stopped() {
        let mut outbox = outbox(&["one", "two"]);
        let all = [Frame::message("one").wire(), Frame::message("two").wire()].concat();
        assert_eq!(outbox.advance(2), 0);
        assert!(outbox.is_cut());
        assert_eq!(written(&mut outbox), all[2..]);
        assert!(outbox.is_empty() && !outbox.is_cut());
    }

    #[test]
    fn the_newest_of_a_key_stands_in_the_olds_place() {
        let mut outbox = outbox(&["a"]);
        push(&mut outbox, Key::Latest(1), "old");
        push(&mut outbox, Key::Latest(2), "other");
        assert!(outbox.replace(Key::Latest(1), &Frame::message("new")));
        assert!(!outbox.replace(Key::Latest(3), &Frame::message("new")));
        assert_eq!(outbox.take_payload().0, b"4a\x1e4new\x1e4other");
    }

    #[test]
    fn compressed_frames_count_and_are_written_as_they_are() {
        let mut outbox = Outbox::default();
        let frame = Frame::message(&"gateway ".repeat(100));
        let (plain, compressed) = (frame.wire().len(), frame.wire_for(true).len());
        assert!(compressed < 100);
        assert_eq!(outbox.saved(&frame), 0);
        push(&mut outbox, Key::Unique, "short");
        outbox.push(Key::Latest(1), frame.clone(), 100, 1_000).unwrap();
        let short = Frame::message("short").wire().len();
        assert_eq!(outbox.depth(), (2, (short + plain) as u32));

        // It upgrades to a connection that takes them compressed.
        outbox.compress(true);
        assert_eq!(outbox.saved(&frame), plain - compressed);
        assert_eq!(outbox.depth(), (2, (short + compressed) as u32));
        // Both forms are held, so the bound is what it was; a flood that compresses well takes no more memory.
        let full = outbox.push(Key::Unique, frame.clone(), 100, short + 2 * plain - 1);
        assert_eq!(full, Err(Full));
        outbox.push(Key::Unique, frame.clone(), 100, short + 2 * plain).unwrap();
        assert!(outbox.replace(Key::Latest(1), &frame));
        assert_eq!(outbox.depth(), (3, (short + 2 * compressed) as u32));
        outbox.push_last(Frame::close(1000));
        let all = [
            Frame::message("short").wire(),
            frame.wire_for(true),
            frame.wire_for(true),
            Frame::close(1000).wire(),
        ]
        .concat();
        assert_eq!(outbox.advance(short + 5), 1);
        assert_eq!(written(&mut outbox), all[short + 5..]);
        assert_eq!(outbox.depth(), (0, 0));
        outbox.clear();
        assert_eq!(outbox.saved(&frame), plain - compressed);
    }

    /// It is a part of every session.
    #[test]
    fn compression_takes_no_memory_of_a_connection() {
        assert_eq!(
            size_of::<Outbox>(),
            size_of::<VecDeque<(Key, Frame)>>() + 2 * size_of::<usize>()
        );
    }

    #[test]
    fn a_frame_that_is_being_written_is_neither_replaced_nor_overtaken() {
        let mut outbox = Outbox::default();
        push(&mut outbox, Key::Latest(1), "old");
        outbox.advance(1);
        assert!(!outbox.replace(Key::Latest(1), &Frame::message("new")));
        outbox.push_first(Key::Pong, Frame::message("pong"));
        let rest = written(&mut outbox);
        assert!(rest.starts_with(&Frame::message("old").wire()[1..]));
        assert!(rest.ends_with(Frame::message("pong").wire()));
    }

    #[test]
    fn a_payload_has_no_more_packets_than_a_stock_client_takes() {
        let mut outbox = outbox(&["a"; PACKETS_PER_POLL + 1]);
        let one = Frame::message("a").wire().len();
        assert_eq!(outbox.take_payload().1, PACKETS_PER_POLL);
        assert_eq!(outbox.depth(), (1, one as u32));
        assert_eq!(outbox.take_payload(), (b"4a".to_vec(), 1));
        assert!(outbox.is_empty() && outbox.bytes == 0);
    }

    #[test]
    fn binary_is_base64_in_a_payload() {
        let mut outbox = outbox(&["a"]);
        let frame = Frame::binary(&[1, 2, 3, 4]);
        outbox.push(Key::Unique, frame, 10, 100).unwrap();
        assert_eq!(outbox.take_payload(), (b"4a\x1ebAQIDBA==".to_vec(), 2));
    }
}
