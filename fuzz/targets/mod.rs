//! What must hold for any bytes, one file a place where bytes of others are read. A finding is a panic.
//!
//! Run by libFuzzer (`make fuzz`) and, on the corpus and mutations of it, by `tests/fuzz_corpus.rs`.

pub mod config;
pub mod frames;
pub mod headers;
pub mod plan;
pub mod resp;
pub mod world;

/// The name of a target's corpus, the target, and how many mutations of the corpus `make test` tries.
type Target = (&'static str, fn(&[u8]), usize);

pub const TARGETS: [Target; 6] = [
    ("resp", resp::run, 4_000),
    ("frames", frames::run, 4_000),
    ("config", config::run, 4_000),
    ("plan", plan::run, 4_000),
    ("headers", headers::run, 4_000),
    // A whole history each; thousands of random ones are a test of their own.
    ("world", world::run, 300),
];

/// The rest of `data` in pieces whose lengths its first byte draws.
pub fn pieces(seed: u8, mut data: &[u8]) -> Vec<&[u8]> {
    let mut state = u32::from(seed) + 1;
    let mut pieces = Vec::new();
    while !data.is_empty() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let most = 1 << (seed % 7);
        let (piece, rest) = data.split_at(data.len().min((state >> 16) as usize % most + 1));
        pieces.push(piece);
        data = rest;
    }
    pieces
}

/// Splits at the first line end of RESP: the text before it, and the rest.
pub fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.windows(2).position(|two| two == b"\r\n")?;
    Some((&bytes[..end], &bytes[end + 2..]))
}

/// Whether it is valid in a header: visible ASCII, with spaces inside only.
pub fn is_header_value(value: &str) -> bool {
    value.bytes().all(|byte| (b' '..=b'~').contains(&byte)) && value.trim() == value
}
