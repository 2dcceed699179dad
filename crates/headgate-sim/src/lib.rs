//! A simulated world for Headgate.
pub mod choices;
pub mod draw;
pub mod fault;
pub mod history;
pub mod ledger;
pub mod model;
pub mod network;
pub mod policies;
pub mod request;
pub mod script;
pub mod time;
pub mod world;
