//! What the local store needs of the proxy: named values that all workers of one Envoy share.

use std::rc::Rc;

/// Values by name, each with a version that changes whenever it is written. There is no way to remove one.
pub trait SharedData {
    /// The value as it stands; `None`: there is none.
    fn get(&self, name: &str) -> Option<(Vec<u8>, Version)>;

    /// Writes the value if nobody has written it since `version` was read.
    ///
    /// # Errors
    /// It was not written.
    fn replace(&self, name: &str, value: &[u8], version: Version) -> Result<(), Refused>;
}

/// Which writing of a value was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version(pub u32);

impl Version {
    /// Of a value that there is none of. Envoy creates one whatever version is named, but compares the version if
    /// another worker has created it meanwhile, and takes 0 for any. Its versions count up from 1 over all values, so
    /// that this one stands for four billion writes to come.
    pub const ABSENT: Version = Version(u32::MAX);
}

/// Why a value was not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Another worker was faster.
    Changed,
    /// The host does not say why.
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
