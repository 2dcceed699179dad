//! End-to-end tests: one binary, one file a theme, one harness.

mod guard;
mod harness;
mod shipped;
mod smoke;
