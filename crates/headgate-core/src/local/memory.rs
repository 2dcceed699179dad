//! An implementation of Envoy's shared data in one process, for native programs and tests.

use super::{Refused, SharedData, Version};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Values that all threads share.
#[derive(Debug, Default)]
pub struct Memory(Mutex<Values>);

#[derive(Debug, Default)]
struct Values {
    written: u32,
    by_name: HashMap<String, (Vec<u8>, u32)>,
}

impl Memory {
    /// The number of values, and their total size in bytes.
    pub fn size(&self) -> (usize, usize) {
        let values = self.values();
        let bytes = values.by_name.values().map(|(value, _)| value.len()).sum();
        (values.by_name.len(), bytes)
    }

    /// Overwrites a value, whatever its version.
    pub fn put(&self, name: &str, value: &[u8]) {
        let mut values = self.values();
        values.written += 1;
        let version = values.written;
        values.by_name.insert(name.to_owned(), (value.to_vec(), version));
    }

    /// The names of all values.
    pub fn names(&self) -> Vec<String> {
        self.values().by_name.keys().cloned().collect()
    }

    fn values(&self) -> MutexGuard<'_, Values> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SharedData for Memory {
    fn get(&self, name: &str) -> Option<(Vec<u8>, Version)> {
        let values = self.values();
        let (value, version) = values.by_name.get(name)?;
        Some((value.clone(), Version(*version)))
    }

    fn replace(&self, name: &str, value: &[u8], Version(version): Version) -> Result<(), Refused> {
        let mut values = self.values();
        let known = values.by_name.get(name);
        if known.is_some_and(|(_, known)| version != 0 && version != *known) {
            return Err(Refused::Changed);
        }
        values.written += 1;
        let version = values.written;
        values.by_name.insert(name.to_owned(), (value.to_vec(), version));
        Ok(())
    }
}
