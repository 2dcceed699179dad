//! The command `headgate`: checks, explains, imports and simulates policies, and manages their counters in Redis.
//!
//! The crate makes no decisions about limits. It reads files, logs and Redis, runs `headgate-core` on them and prints
//! the result. [`main`] runs the command line of the process, [`run`] any other.
//!
//! # Layout
//! - `check`, with `report`: errors and warnings with line and path. `document` and `find` read the file; `advice` is
//!   about the policy. `envoy`, `envoy_addresses`, `envoy_filter_state` and `envoy_redis_call` are about the Envoy
//!   around it.
//! - `explain`, with `request`, `reasons` and `charges`: which limits apply to one request.
//! - `simulate`: `traffic` or `replay` make the requests, `fault` reads faults, `headgate-sim` runs them, `tally` and
//!   `plot` show the outcomes.
//! - `show` and `overrides`, with `target`, `store` and `counters`: a client's counters in Redis.
//! - `top`: the most rejected clients, from Envoy's log.
//! - `hash`: the digest of a secret.
//! - `doctor`: whether an Envoy counts requests, and if not, why.
//! - `import`: other limiters' configurations.
//! - `input`, `policies` and `table`: what several subcommands share.
//!
//! # Example
//! ```
//! use std::process::ExitCode;
//!
//! let file = std::env::temp_dir().join("headgate-cli-example.yaml");
//! std::fs::write(&file, "limits: [{name: per-client, rate: 100/minute}]")?;
//! let status = headgate_cli::run(["headgate".as_ref(), "check".as_ref(), file.as_os_str()]);
//! assert_eq!(status, ExitCode::SUCCESS);
//! # std::fs::remove_file(&file)?;
//! # Ok::<(), std::io::Error>(())
//! ```

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )
)]

mod advice;
mod charges;
mod check;
mod counters;
mod doctor;
mod document;
mod envoy;
mod envoy_addresses;
mod envoy_filter_state;
mod envoy_redis_call;
mod explain;
mod fault;
mod find;
mod hash;
mod import;
mod input;
mod overrides;
mod plot;
mod policies;
mod reasons;
mod replay;
mod report;
mod request;
mod show;
mod simulate;
mod store;
mod table;
mod tally;
mod target;
mod top;
mod traffic;

use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

/// Checks, explains and simulates Headgate policies, and manages their counters in Redis.
///
/// Exit status: 0 on success, 1 if the answer is negative (errors in a policy, no such client), 2 if the command
/// failed (wrong usage, a file or a Redis that cannot be read).
#[derive(Parser)]
#[command(name = "headgate", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Find errors in a configuration, each with line and path, and warn about risky settings
    #[command(after_help = "Example: headgate check --strict envoy/envoy.yaml")]
    Check(check::CheckArgs),
    /// Check whether the Envoys at these admin interfaces count requests, and if not, why
    ///
    /// Exit status: 0 if requests are counted, 1 if they are not (or none has come yet), 2 if this cannot be found out.
    #[command(after_help = "Example: headgate doctor http://127.0.0.1:9901")]
    Doctor(doctor::DoctorArgs),
    /// Show which limits apply to a request, why the others do not, and which counters it uses
    #[command(
        after_help = "Example: headgate explain envoy/envoy.yaml --request 'POST /login' --header 'x-api-key: k'"
    )]
    Explain(explain::ExplainArgs),
    /// Simulate a policy on generated traffic or on an access log, without a Redis
    ///
    /// Counts with the filter's own algorithms on simulated time. A response without a cost counts as 1. --fault adds
    /// failures of Redis and of Envoys. Live overrides are not simulated.
    #[command(
        after_help = "Example: headgate simulate envoy/envoy.yaml --traffic '200/s for 60s, clients 50, zipf 1.1, path /' --svg out.svg"
    )]
    Simulate(simulate::SimulateArgs),
    /// Print the hash that Redis, logs and overrides contain in place of a secret
    ///
    /// The key is taken from the environment variable HEADGATE_HASH_KEY, as in the filter.
    #[command(after_help = "Example: HEADGATE_HASH_KEY=$(cat key) headgate hash -")]
    Hash(hash::HashArgs),
    /// Convert another limiter's configuration into a policy, and list what cannot be converted
    #[command(after_help = "Example: headgate import envoy-ratelimit ratelimit.yaml > headgate.yaml")]
    Import(import::ImportArgs),
    /// Show a client's counters: what is used, what is left, and when it comes back
    #[command(
        after_help = "Example: headgate show api_key:k --policy envoy/envoy.yaml --redis redis://127.0.0.1:7001"
    )]
    Show(show::ShowArgs),
    /// Delete a client's counters; its live overrides stay
    ///
    /// Each Envoy may cache a denial for up to verdict_cache.max_age (1 s) longer. For a limit with key: [address],
    /// reset the address: headgate reset address:192.0.2.1.
    #[command(after_help = "Example: headgate reset api_key:k --limit login")]
    Reset(show::ResetArgs),
    /// Set, show and remove live overrides: another N for one client, without reloading any Envoy
    ///
    /// Only limits with overrides: [{from: redis}] read them.
    Override(overrides::OverrideArgs),
    /// Show which clients are rejected most, from the reports that the filter writes into Envoy's log each minute
    ///
    /// A report is one worker's estimate, with known bounds: the true number is at most the column `rejected` and at
    /// least the column `at least`.
    #[command(
        after_help = "Example: headgate top envoy.log --last 8; kubectl logs deploy/gateway | headgate top"
    )]
    Top(top::TopArgs),
}

/// What a subcommand prints, and its exit status.
struct Output {
    text: String,
    status: u8,
}

impl Output {
    fn text(text: String) -> Output {
        Output { text, status: 0 }
    }
}

/// Why a subcommand could not do its work: exit status 2.
#[derive(Debug)]
struct Failure(String);

impl Failure {
    fn new(message: impl Into<String>) -> Failure {
        Failure(message.into())
    }
}

/// Runs the command line of this process, as [`run`] does.
pub fn main() -> ExitCode {
    run(std::env::args_os())
}

/// Runs a command line, of which the first argument is the program's name.
///
/// Prints the result on standard output, and an error in one line on standard error. Returns the exit status: 0 on
/// success, 1 if the answer is negative (errors in a policy, no such client), 2 if the command failed. Wrong usage,
/// `--help` and `--version` end the process.
pub fn run<A: Into<OsString> + Clone>(args: impl IntoIterator<Item = A>) -> ExitCode {
    let result = match Cli::parse_from(args).command {
        Command::Check(args) => check::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Simulate(args) => simulate::run(&args),
        Command::Hash(args) => hash::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Show(args) => show::show(&args),
        Command::Reset(args) => show::reset(&args),
        Command::Override(args) => overrides::run(&args),
        Command::Top(args) => top::run(&args),
    };
    match result {
        Ok(output) => {
            // The reader may close the pipe early (`headgate … | head`).
            let _ = std::io::stdout().write_all(output.text.as_bytes());
            ExitCode::from(output.status)
        }
        Err(Failure(message)) => {
            eprintln!("headgate: {message}");
            ExitCode::from(2)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn every_subcommand_is_well_defined() {
        super::Cli::command().debug_assert();
    }
}
