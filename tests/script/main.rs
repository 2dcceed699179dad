//! The counting script on a real Redis: it does what the algorithms' laws say, and keeps its own promises.

mod model;
mod promises;
mod sequences;
mod server;
mod speed;
