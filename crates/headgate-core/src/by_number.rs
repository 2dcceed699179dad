//! Maps by numbers that no caller can choose: ids counted up by us or by Envoy, or fingerprints under a random key.
//! They do not need the standard hasher's protection against chosen collisions, which costs a tenth of a request's time
//! in the module. If callers choose the keys, make a [`Fingerprint`] of each key first.

use crate::fingerprint::Fingerprint;
use rustc_hash::FxBuildHasher;
use std::collections::HashMap;

/// By ids that are counted up.
pub type ByNumber<T> = HashMap<u64, T, FxBuildHasher>;
/// By keyed hashes of 128 bits.
pub type ByFingerprint<T> = HashMap<Fingerprint, T, FxBuildHasher>;
