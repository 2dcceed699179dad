//! Readies the counting script for the module: its text without comments and indentation, and the SHA-1 of that, by
//! which EVALSHA calls it. Lines stay lines, so that Redis's errors name those of the source.

use sha1::{Digest as _, Sha1};
use std::path::Path;
use std::{env, fs, io};

const SOURCE: &str = "src/script/counting.lua";

/// What `--features drill` adds, for another body.
const NEXT_RELEASE: &str = "-- the next release\n";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed={SOURCE}");
    println!("cargo::rerun-if-changed=build.rs");
    let out = env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?;
    let body: String = fs::read_to_string(SOURCE)?.lines().map(bare).collect();
    let next = body.clone() + NEXT_RELEASE;
    for (name, body) in [("counting", body), ("next", next)] {
        fs::write(Path::new(&out).join(format!("{name}.sha1")), sha1_hex(&body))?;
        fs::write(Path::new(&out).join(format!("{name}.lua")), body)?;
    }
    Ok(())
}

/// The line's code. The script's strings are in single quotes, without escaped ones.
fn bare(line: &str) -> String {
    let is_comment = |at: &usize| line[..*at].matches('\'').count().is_multiple_of(2);
    let end = line.match_indices("--").map(|(at, _)| at).find(is_comment);
    line[..end.unwrap_or(line.len())].trim().to_owned() + "\n"
}

fn sha1_hex(text: &str) -> String {
    Sha1::digest(text)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
