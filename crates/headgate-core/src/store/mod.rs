//! What counters are called and how they lie in Redis: the names of keys and fields, and the packed values. What the
//! filter writes, what the script packs and what the command reads all come from here.

mod names;
mod packed;

pub use names::{hash_tag_start, label, override_field, override_limit, unescape, Label, ONLY_FIELD};
pub use packed::{unpack, unpack_log, LOG_ENTRY, LOG_HEADER};
