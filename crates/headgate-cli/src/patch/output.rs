//! The output of `patch` and `unpatch`: they print the file or the difference, or write the file in place. The report
//! is written to standard error.

use crate::{Failure, Output};
use similar::TextDiff;
use std::io::Write as _;
use std::path::Path;

#[derive(clap::Args)]
pub struct OutputArgs {
    /// Write the files in place, and do not print them
    #[arg(long)]
    in_place: bool,
    /// Print the difference, and not the file
    #[arg(long)]
    diff: bool,
}

/// The result for one file.
pub struct Result {
    pub name: String,
    pub old: String,
    pub new: String,
    /// The report: line and text.
    pub lines: Vec<(usize, String)>,
}

impl OutputArgs {
    /// # Errors
    /// If several files would be printed, if standard input would be written, and if a file cannot be written.
    pub fn deliver(&self, results: &[Result], status: u8) -> std::result::Result<Output, Failure> {
        if results.len() > 1 && !self.in_place && !self.diff {
            return Err(Failure::new(
                "several files: add --in-place to write them, or --diff to see what would change",
            ));
        }
        if self.in_place && results.iter().any(|result| result.name == "-") {
            return Err(Failure::new("--in-place: standard input is not a file"));
        }
        let mut text = String::new();
        for result in results {
            if self.diff {
                text += &diff(result);
            } else if !self.in_place {
                text += &result.new;
            }
        }
        if self.in_place {
            for result in results.iter().filter(|result| result.old != result.new) {
                let failed = |error| Failure::new(format!("{}: {error}", result.name));
                write(Path::new(&result.name), &result.new).map_err(failed)?;
            }
        }
        for result in results {
            for (line, message) in &result.lines {
                eprintln!("{}:{line}: {message}", result.name);
            }
        }
        Ok(Output { text, status })
    }
}

/// As `diff -u` prints it, for `patch`.
fn diff(result: &Result) -> String {
    let diff = TextDiff::from_lines(&result.old, &result.new);
    let name = if result.name == "-" { "stdin" } else { &result.name };
    diff.unified_diff()
        .context_radius(3)
        .header(name, name)
        .to_string()
}

/// Replaces the file atomically, so that no reader sees a part of it. Symbolic links are kept.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let path = std::fs::canonicalize(path)?;
    let permissions = std::fs::metadata(&path)?.permissions();
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".headgate-{}", std::process::id()));
    let draft = path.with_file_name(name);
    let replace = || {
        let mut file = std::fs::File::create_new(&draft)?;
        file.write_all(text.as_bytes())?;
        file.set_permissions(permissions.clone())?;
        file.sync_all()?;
        std::fs::rename(&draft, &path)
    };
    replace().or_else(|_| {
        // The file is a mount point, or the directory is not writable.
        let _ = std::fs::remove_file(&draft);
        std::fs::write(&path, text)
    })
}
