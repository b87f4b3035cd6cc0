//! What is said, and what deflating it takes by itself, as the engine does it: zlib-rs, reset for each payload.

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Instant;

use flate2::{Compress, Compression, FlushCompress};
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::{SeedableRng as _, seq::IndexedRandom as _};

const LENGTHS: [usize; 9] = [128, 256, 384, 512, 768, 1_000, 2_000, 4_000, 16_000];
const LEVELS: [u32; 3] = [1, 2, 6];
/// What a flush leaves behind, and no frame carries.
const TAIL_BYTES: usize = 4;
/// Different payloads of one length.
const VARIETY: usize = 64;
/// Payloads deflated for one figure, and how often: the fastest counts.
const PAYLOADS: usize = 2_000;
const REPEATS: usize = 5;

const WORDS: [&str; 24] = [
    "gateway", "room", "again", "tomorrow", "the", "latency", "of", "a", "release", "before", "noon", "and", "nobody",
    "wrote", "metrics", "since", "it", "was", "late", "please", "look", "into", "that", "thanks",
];

/// JSON of about that many bytes, as applications put it into a message: members, numbers, words.
pub fn json_like(len: usize, random: &mut StdRng) -> String {
    let mut text = String::from("{");
    while text.len() < len {
        let (key, number) = (
            WORDS.choose(random).expect("there are words"),
            random.random_range(0..100_000),
        );
        write!(text, "\"{key}\":{number},\"text\":\"").expect("a text takes everything");
        for _ in 0..random.random_range(3..12) {
            let word = WORDS.choose(random).expect("there are words");
            write!(text, "{word} ").expect("a text takes everything");
        }
        text.push_str("\",");
    }
    text.truncate(len);
    text
}

/// Prints what is saved of payloads of every length, and the time, at every level.
pub fn print_costs() {
    println!("one payload, deflated once for all who get it: bytes saved, µs");
    println!("| bytes | level 1 (the gateway's) | level 2 | level 6 (zlib's default) |");
    println!("|---|---|---|---|");
    let mut random = StdRng::seed_from_u64(7);
    for len in LENGTHS {
        let texts: Vec<_> = (0..VARIETY).map(|_| json_like(len, &mut random)).collect();
        print!("| {len} |");
        for level in LEVELS {
            let (saved, us) = cost(&texts, len, level);
            print!(" {saved:.0} ({:.0} %), {us:.1} |", saved / len as f64 * 100.0);
        }
        println!();
    }
}

/// Bytes saved of one, and the time, µs: the best of all repeats.
fn cost(texts: &[String], len: usize, level: u32) -> (f64, f64) {
    let mut state = Compress::new(Compression::new(level), false);
    let mut out = Vec::with_capacity(2 * len);
    let mut fastest = f64::INFINITY;
    let mut deflated = 0;
    for _ in 0..REPEATS {
        deflated = 0;
        let started = Instant::now();
        for text in texts.iter().cycle().take(PAYLOADS) {
            state.reset();
            out.clear();
            let done = state.compress_vec(text.as_bytes(), &mut out, FlushCompress::Sync);
            done.expect("the compressor takes everything");
            deflated += black_box(&out).len() - TAIL_BYTES;
        }
        fastest = fastest.min(started.elapsed().as_secs_f64() * 1e6 / PAYLOADS as f64);
    }
    (len as f64 - deflated as f64 / PAYLOADS as f64, fastest)
}
