//! The module for Higress: the suite that both roads to Redis must pass, and what only the native one can meet.

#[path = "../e2e/harness/mod.rs"]
mod harness;

mod contexts;
mod credentials;
mod drivers;
mod faults;
mod gateway;
mod suite;
