//! The counting script on a real Redis: it does what the algorithms' laws say, and keeps its promises.

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
