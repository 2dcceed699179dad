//! A simulated world for Headgate.
pub mod choices;
pub mod fault;
pub mod model;
pub mod network;
pub mod script;
pub mod time;
