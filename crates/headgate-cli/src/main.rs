//! The command `headgate`; all of it is in `headgate_cli`.

fn main() -> std::process::ExitCode {
    headgate_cli::main()
}
