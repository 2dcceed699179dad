//! `headgate hash`: the digest under which a secret stands in keys, logs and overrides.

use super::{input, Failure, Output};
use headgate_core::identify::trimmed;

#[derive(clap::Args)]
pub struct Args {
    /// The value, as callers send it; - reads it from standard input, so that it stands in no shell history
    value: String,
}

/// Never shows the value.
pub fn run(args: &Args) -> Result<Output, Failure> {
    let hasher = input::hasher();
    let value = match args.value.as_str() {
        "-" => input::stdin()?,
        value => value.as_bytes().to_vec(),
    };
    // White space around a value is no part of it, here as in a request; nor is the terminal's end of the line.
    let value = trimmed(&value);
    if value.is_empty() {
        return Err(Failure::new("an empty value names no client"));
    }
    if !hasher.is_keyed() {
        eprintln!("headgate: HEADGATE_HASH_KEY is not set: this is SHA-256, as of a filter without a key");
    }
    Ok(Output::text(format!("{}\n", hasher.digest(value))))
}
