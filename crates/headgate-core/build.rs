//! Prepares the counting script for the module: its text without comments and indentation, and the SHA-1 of that text
//! for EVALSHA. Line numbers are kept, so that Redis's errors name the lines of the source.

use sha1::{Digest as _, Sha1};
use std::path::Path;
use std::{env, fs, io};

const SOURCE: &str = "src/script/counting.lua";

/// The scripts of earlier releases, unchanged: what their filters send.
const RELEASED: &str = "src/script/released";

/// What the feature `fault-injection` adds, to get another body.
const NEXT_RELEASE: &str = "-- the next release\n";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed={SOURCE}");
    println!("cargo::rerun-if-changed={RELEASED}");
    println!("cargo::rerun-if-changed=build.rs");
    let out = env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?;
    let source = fs::read_to_string(SOURCE)?;
    let body: String = source
        .lines()
        .map(|line| format!("{}\n", stripped(line)))
        .collect();
    let next = body.clone() + NEXT_RELEASE;
    let mut scripts = vec![("counting".to_owned(), body), ("next".to_owned(), next)];
    for file in fs::read_dir(RELEASED)? {
        let path = file?.path();
        let release = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        scripts.push((release.unwrap_or_default(), fs::read_to_string(&path)?));
    }
    for (name, body) in scripts {
        fs::write(Path::new(&out).join(format!("{name}.sha1")), sha1_hex(&body))?;
        fs::write(Path::new(&out).join(format!("{name}.lua")), body)?;
    }
    Ok(())
}

/// A line of code without its comment and indentation. The script's strings are in single quotes, without escaped ones;
/// its comments end with their line.
fn stripped(line: &str) -> &str {
    let mut in_string = false;
    let comment = line.char_indices().find(|&(at, letter)| {
        in_string ^= letter == '\'';
        !in_string && line[at..].starts_with("--")
    });
    comment.map_or(line, |(at, _)| &line[..at]).trim()
}

fn sha1_hex(text: &str) -> String {
    Sha1::digest(text)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
