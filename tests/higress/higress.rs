//! The module for Higress: the suite that both transports to Redis must pass, and the faults of the native transport.

#[path = "../e2e/harness/mod.rs"]
mod harness;

mod contexts;
mod credentials;
mod drivers;
mod faults;
mod gateway;
mod suite;
