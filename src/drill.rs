//! Only in builds for tests (feature `drill`): a release that can be told to die, and whose script is not this one's.
//! Nothing of it is in a module that ships.

/// Panics where `bytes` contain the word.
#[allow(clippy::panic)]
pub fn trap_on(bytes: &[u8], word: &[u8]) {
    if bytes.windows(word.len()).any(|window| window == word) {
        panic!("a drill");
    }
}
