//! Headgate in front of real servers: the limiter must read a request as the server does.
//!
//! Each server answers with the name of the handler that ran, and Headgate with the limits that it applied. So a
//! test needs no opinion about what a path means: if the login's handler ran, the login's limit was applied.
//!
//! `servers` starts Django, nginx, Express, Tomcat and the JDK's server, each with Envoy as it ships or with one that
//! rewrites nothing; `spellings` writes a path in other ways; `probe` sends them byte for byte; `known` lists what only
//! Envoy's settings close. Java's servers are `#[ignore]`: `make test-all` runs them, and prints a line where there is
//! no JDK.

mod paths;
mod probe;
mod requests;
mod servers;
mod spellings;
