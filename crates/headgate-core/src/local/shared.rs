//! What the local store needs from the proxy: named values that all workers of one Envoy share.

use std::rc::Rc;

/// Values by name, each with a version that changes whenever it is written. Values cannot be removed.
pub trait SharedData {
    /// The current value and its version; `None`: not set.
    fn get(&self, name: &str) -> Option<(Vec<u8>, Version)>;

    /// Writes the value if it has not been written since `version` was read (compare-and-swap).
    ///
    /// # Errors
    /// The value was not written.
    fn replace(&self, name: &str, value: &[u8], version: Version) -> Result<(), Refused>;
}

/// The version of a value that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version(pub u32);

impl Version {
    /// The version of a value that is not set. Envoy creates a value whatever the version is, but compares the version
    /// if another worker has created it meanwhile, and accepts 0 as any version. Its versions count up from 1 over all
    /// values, so this one is only reached after four billion writes.
    pub const ABSENT: Version = Version(u32::MAX);
}

/// Why a value was not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Another worker has written it meanwhile.
    Changed,
    /// The host gave no reason.
    Failed,
}

impl<T: SharedData + ?Sized> SharedData for Rc<T> {
    fn get(&self, name: &str) -> Option<(Vec<u8>, Version)> {
        (**self).get(name)
    }

    fn replace(&self, name: &str, value: &[u8], version: Version) -> Result<(), Refused> {
        (**self).replace(name, value, version)
    }
}

impl<T: SharedData + ?Sized> SharedData for &T {
    fn get(&self, name: &str) -> Option<(Vec<u8>, Version)> {
        (**self).get(name)
    }

    fn replace(&self, name: &str, value: &[u8], version: Version) -> Result<(), Refused> {
        (**self).replace(name, value, version)
    }
}
