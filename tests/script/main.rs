//! The counting script on a real Redis: it follows the algorithms' definitions and keeps its guarantees.

mod atomic;
mod buckets;
mod capacity;
mod deployment;
mod entries;
mod expiry;
mod figures;
mod fixtures;
mod local;
mod sequences;
mod server;
mod speed;
mod traffic;
