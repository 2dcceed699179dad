//! The command `headgate`; all of it is in `headgate::cli`.

fn main() -> std::process::ExitCode {
    headgate::cli::main()
}
