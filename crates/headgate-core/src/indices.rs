//! Places in a list by name, where lists may be long.
//!
//! In the kind of map that JSON values are in: another kind takes 3 KB more of the module.

use serde_json::{Map, Value};

/// Which name stands where.
#[derive(Debug, Default)]
pub(crate) struct Indices(Map<String, Value>);

impl Indices {
    #[inline(never)]
    pub fn get(&self, name: &str) -> Option<usize> {
        let index = self.0.get(name)?.as_u64()?;
        usize::try_from(index).ok()
    }

    #[inline(never)]
    pub fn insert(&mut self, name: String, index: usize) {
        self.0.insert(name, Value::from(index));
    }

    /// In alphabetic order.
    pub fn names(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }
}
