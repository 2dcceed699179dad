//! Files and what else the command reads from outside.

use super::Failure;
use headgate_core::identify::Hasher;
use std::io::Read;

/// A file's text; `-` is standard input.
pub fn read(file: &str) -> Result<String, Failure> {
    String::from_utf8(bytes(file)?).map_err(|_| Failure::new(format!("{file}: not UTF-8")))
}

/// The same of a log, which may contain any bytes.
pub fn read_lossy(file: &str) -> Result<String, Failure> {
    Ok(String::from_utf8_lossy(&bytes(file)?).into_owned())
}

fn bytes(file: &str) -> Result<Vec<u8>, Failure> {
    match file {
        "-" => stdin(),
        _ => std::fs::read(file).map_err(|error| Failure::new(format!("{file}: {error}"))),
    }
}

pub fn stdin() -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    match std::io::stdin().lock().read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => Err(Failure::new(format!("standard input: {error}"))),
    }
}

/// Hashes as the filter does, by the key in HEADGATE_HASH_KEY.
pub fn hasher() -> Hasher {
    let key = std::env::var_os(super::find::HASH_KEY);
    Hasher::new(key.as_ref().map(|key| key.as_encoded_bytes()))
}
