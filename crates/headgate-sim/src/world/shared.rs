//! The shared data of the workers of one Envoy.

use headgate_core::local::{Memory, Refused, SharedData, Version};
use std::rc::Rc;

#[derive(Debug, Clone, Default)]
pub struct SharedMemory(Rc<Memory>);

impl SharedData for SharedMemory {
    fn get(&self, name: &str) -> Option<(Vec<u8>, Version)> {
        self.0.get(name)
    }

    fn replace(&self, name: &str, value: &[u8], version: Version) -> Result<(), Refused> {
        self.0.replace(name, value, version)
    }
}
