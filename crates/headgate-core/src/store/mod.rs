//! The storage format in Redis: the names of keys and fields, and the packed values. The filter, the script and the
//! `headgate` command use the same definitions.

mod names;
mod packed;

pub use names::{hash_tag_start, label, override_field, override_limit, unescape, Label, ONLY_FIELD};
pub use packed::{unpack, unpack_log, LOG_ENTRY, LOG_HEADER};
