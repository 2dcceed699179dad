//! End-to-end tests: one binary, one file a theme, one harness.

mod bursts;
mod cluster;
mod concurrency;
mod configuration;
mod contract;
mod cors;
mod costs;
mod dashboards;
mod failover;
mod faults;
mod guard;
mod harness;
mod hostile;
mod identity;
mod instances;
mod leases;
mod limits;
mod local;
mod matching;
mod memory;
mod mesh;
#[cfg(feature = "cli")]
mod oncall;
mod overrides;
mod parity;
mod responses;
mod seen;
mod shadow;
mod shipped;
mod smoke;
mod sources;
mod survival;
mod traces;
mod trailers;
mod verdicts;
mod windows;
