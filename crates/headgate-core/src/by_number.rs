//! Maps by numbers that no caller can choose: counted up by ourselves or by Envoy, or fingerprints under a random key.
//! The standard hasher's defence against chosen collisions is not needed for them, and costs a tenth of a request's time
//! in the module. A map whose keys callers choose must not be one of these: first make a [`Fingerprint`] of the key.

use crate::fingerprint::Fingerprint;
use rustc_hash::FxBuildHasher;
use std::collections::HashMap;

/// By ids that are counted up.
pub type ByNumber<T> = HashMap<u64, T, FxBuildHasher>;
/// By keyed hashes of 128 bits.
pub type ByFingerprint<T> = HashMap<Fingerprint, T, FxBuildHasher>;
