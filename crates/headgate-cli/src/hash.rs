//! `headgate hash`: the digest that keys, logs and overrides contain in place of a secret.

use super::{input, Failure, Output};
use headgate_core::identify::trimmed;

#[derive(clap::Args)]
pub struct HashArgs {
    /// The value, as callers send it; - reads it from standard input, which keeps it out of the shell history
    value: String,
}

/// Never shows the value.
pub fn run(args: &HashArgs) -> Result<Output, Failure> {
    let hasher = input::hasher();
    let value = match args.value.as_str() {
        "-" => input::stdin()?,
        value => value.as_bytes().to_vec(),
    };
    // As in a request, white space around a value is ignored, and so is the terminal's line end.
    let value = trimmed(&value);
    if value.is_empty() {
        return Err(Failure::new("an empty value names no client"));
    }
    if !hasher.is_keyed() {
        eprintln!("headgate: HEADGATE_HASH_KEY is not set: this is SHA-256, as of a filter without a key");
    }
    Ok(Output::text(format!("{}\n", hasher.digest(value))))
}
