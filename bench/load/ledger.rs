//! What was said and what of it was heard, by whom: every message has its speaker's number in its content, and of each speaker
//! everybody in the room must hear 0, 1, 2 and so on. Not here: sockets, and who says what when (`talk`).

use std::io::Write as _;

use hdrhistogram::Histogram;
use memchr::memmem;

/// Stands before the numbers in a content.
const MARK: &[u8] = b"\"content\":\"@";
/// Digits of: who speaks, the number of the message, when it was said (µs).
const DIGITS: [usize; 3] = [6, 8, 12];
const LENGTH: usize = DIGITS[0] + DIGITS[1] + DIGITS[2] + 2;
/// What people say is longer than three numbers.
const TALK: &str = "thirty-two bytes of talk besides";
/// Of the ways that are kept; the longest that is told apart, µs.
const LONGEST_US: u64 = 120_000_000;

/// The numbers in a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    pub speaker: usize,
    pub number: u32,
    pub said_us: u64,
}

impl Stamp {
    /// The content that carries it.
    pub fn content(&self) -> String {
        let [who, number, when] = DIGITS;
        format!(
            "@{:0who$} {:0number$} {:0when$} {TALK}",
            self.speaker, self.number, self.said_us
        )
    }

    /// Writes over the numbers of a packet that has a content already.
    pub fn write(&self, packet: &mut [u8]) {
        let at = memmem::find(packet, MARK).expect("the packet has a content") + MARK.len();
        let [who, number, when] = DIGITS;
        let mut place = &mut packet[at..at + LENGTH];
        write!(
            place,
            "{:0who$} {:0number$} {:0when$}",
            self.speaker, self.number, self.said_us
        )
        .expect("there is room for so many digits");
    }
}

/// Finds stamps; servers write their fields in an order of their own, and keep to it.
#[derive(Default)]
pub struct Reader {
    last: usize,
}

impl Reader {
    pub fn read(&mut self, packet: &[u8]) -> Option<Stamp> {
        if !packet.get(self.last..)?.starts_with(MARK) {
            self.last = memmem::find(packet, MARK)?;
        }
        let digits = packet.get(self.last + MARK.len()..)?.get(..LENGTH)?;
        let [who, number, _] = DIGITS;
        Some(Stamp {
            speaker: decimal(&digits[..who])? as usize,
            number: decimal(&digits[who + 1..who + 1 + number])? as u32,
            said_us: decimal(&digits[who + number + 2..])?,
        })
    }
}

fn decimal(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |sum, digit| {
        digit.is_ascii_digit().then(|| sum * 10 + u64::from(digit - b'0'))
    })
}

/// Times that something took, µs.
pub fn ways() -> Histogram<u64> {
    Histogram::new_with_max(LONGEST_US, 3).expect("these bounds are good")
}

/// Of one crowd, from one beginning to the end.
pub struct Ledger {
    room: usize,
    /// Speakers in each room: its first members.
    voices: usize,
    /// Of each client and each voice of its room, the number that comes next.
    next: Vec<u32>,
    /// Of each client, messages that it said.
    said: Vec<u32>,
    pub heard: u64,
    /// Numbers that were passed over.
    skipped: u64,
    /// What came a second time, too late, or to a room that it was not for.
    pub strange: u64,
    /// From saying to hearing, µs.
    pub ways: Histogram<u64>,
}

impl Ledger {
    pub fn new(clients: usize, room: usize, voices: usize) -> Self {
        Self {
            room,
            voices,
            next: vec![0; clients * voices],
            said: vec![0; clients],
            heard: 0,
            skipped: 0,
            strange: 0,
            ways: ways(),
        }
    }

    /// The number of the speaker's next message.
    pub fn say(&mut self, speaker: usize) -> u32 {
        let number = self.said[speaker];
        self.said[speaker] += 1;
        number
    }

    pub fn hear(&mut self, listener: usize, stamp: Stamp, now_us: u64) {
        self.heard += 1;
        self.ways.saturating_record(now_us.saturating_sub(stamp.said_us));
        let voice = stamp.speaker % self.room;
        if stamp.speaker / self.room != listener / self.room || voice >= self.voices {
            self.strange += 1;
            return;
        }
        let next = &mut self.next[listener * self.voices + voice];
        if stamp.number < *next {
            self.strange += 1;
            return;
        }
        self.skipped += u64::from(stamp.number - *next);
        *next = stamp.number + 1;
    }

    /// Messages that were said.
    pub fn messages(&self) -> u64 {
        self.said.iter().map(|&said| u64::from(said)).sum()
    }

    /// Deliveries of what was said.
    pub fn expected(&self) -> u64 {
        self.messages() * self.room as u64
    }

    /// Deliveries that did not come, or not in order.
    pub fn lost(&self) -> u64 {
        let missing = |(place, &next): (usize, &u32)| {
            let (listener, voice) = (place / self.voices, place % self.voices);
            let speaker = listener / self.room * self.room + voice;
            u64::from(self.said[speaker] - next.min(self.said[speaker]))
        };
        self.skipped + self.next.iter().enumerate().map(missing).sum::<u64>()
    }
}
