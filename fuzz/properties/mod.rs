//! What holds for all bytes, one file for each place where bytes come in. `fuzz_targets/` looks for bytes that break it
//! (`make fuzz`), `tests/fuzz.rs` feeds the corpus (`make test`). Each `hold` panics when its property is broken.

pub mod bus;
pub mod config;
pub mod events;
pub mod polling;
pub mod websocket;

/// The sizes of pieces that input is cut into: the whole, each byte alone, sizes around the masks and words that decoders
/// work in, and one that the input itself chooses.
fn piece_sizes(data: &[u8]) -> [usize; 6] {
    let own = data
        .iter()
        .fold(0_usize, |sum, byte| sum.wrapping_add(usize::from(*byte)));
    [data.len().max(1), 1, 2, 3, 7, own % data.len().max(1) + 1]
}
