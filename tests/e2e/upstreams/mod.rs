//! Headgate in front of real servers: what a server understands of a request, the limiter must have understood too.
//!
//! Each server answers with the name of the handler that ran, and Headgate with the limits that it applied. So a
//! test needs no opinion about what a path means: if the login's handler ran, the login's limit was applied.
//!
//! `servers` starts Django, nginx and Express, `spellings` writes a path in other ways, `probe` sends them as they are.

mod paths;
mod probe;
mod requests;
mod servers;
mod spellings;
