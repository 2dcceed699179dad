//! End-to-end tests: one binary, one file a theme, one harness.

mod harness;
mod shipped;
mod smoke;
