//! A short run of the fuzz targets, without a fuzzer: every file of the corpus, and seeded mutations of them. The
//! long one is `make fuzz`.

#[path = "../fuzz/targets/mod.rs"]
mod targets;

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::Path;

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let files = std::fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut files: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    files.sort();
    files
        .iter()
        .map(|file| std::fs::read(file).expect("a file"))
        .collect()
}

/// Some bytes changed, cut out, doubled, or put in from another input.
fn mutate(input: &mut Vec<u8>, other: &[u8], random: &mut fastrand::Rng) {
    const TELLING: &[u8] = b"\0\r\n\t :{}%*$+-,=~/?#&;@\"\\09azAZ\x7f\x80\xfd\xfe\xff";
    for _ in 0..random.usize(1..=4) {
        let at = random.usize(0..=input.len());
        let end = random.usize(at..=input.len().min(at + 8));
        match random.u8(0..6) {
            0 if at < input.len() => input[at] = random.u8(..),
            1 => input.insert(at, TELLING[random.usize(..TELLING.len())]),
            2 => drop(input.drain(at..end)),
            3 => {
                let part = input[at..end].to_vec();
                input.splice(at..at, part);
            }
            4 => {
                let from = random.usize(0..=other.len());
                let part = other[from..other.len().min(from + 32)].to_vec();
                input.splice(at..end, part);
            }
            _ => input.truncate(at.max(1)),
        }
    }
    input.truncate(4 << 10);
}

#[test]
fn no_input_violates_an_invariant() {
    let mut random = fastrand::Rng::with_seed(1);
    for (name, run, mutations) in targets::TARGETS {
        let corpus = corpus(name);
        assert!(!corpus.is_empty(), "no corpus for {name}");
        let check = |input: &[u8]| {
            let held = catch_unwind(AssertUnwindSafe(|| run(input)));
            assert!(
                held.is_ok(),
                "{name} does not hold for \"{}\"",
                input.escape_ascii()
            );
        };
        corpus.iter().for_each(|input| check(input));
        let mut input = Vec::new();
        for number in 0..mutations {
            // Sometimes start again from the corpus: in between, mutations add up.
            if number % 4 == 0 {
                input.clone_from(&corpus[random.usize(..corpus.len())]);
            }
            mutate(&mut input, &corpus[random.usize(..corpus.len())], &mut random);
            check(&input);
        }
    }
}
