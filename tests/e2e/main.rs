//! End-to-end tests: one binary, one file a theme, one harness.

mod cluster;
mod concurrency;
mod configuration;
mod faults;
mod guard;
mod harness;
mod identity;
mod limits;
mod shipped;
mod smoke;
mod verdicts;
