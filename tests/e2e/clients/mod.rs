//! Real clients that retry: when asked to wait, they wait and then pass; when a call can never pass, they
//! give up. `docs/clients.md` lists what each client reads.
//!
//! `program` runs the small programs of this folder; Envoy in front of Headgate is one of the clients.

mod front;
mod grpc;
mod http;
mod program;

/// Five calls pass at once, the next when the window is over. It begins with its first call, so that a refusal
/// costs its caller one retry, however slow the machine is.
const WINDOW: &str = "{name: window, rate: 5/2s, algorithm: fixed_window, align: first_call}";

/// The calls that a test makes, and the refusals that they get in `WINDOW`.
const CALLS: u64 = 11;
const REFUSALS: u64 = 2;
