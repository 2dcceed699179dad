//! What `patch` and `unpatch` print and write: the file, its difference, or the file in its place; the report on
//! standard error.

use crate::{Failure, Output};
use similar::TextDiff;
use std::io::Write as _;
use std::path::Path;

#[derive(clap::Args)]
pub struct OutputArgs {
    /// Write the files themselves in place of printing
    #[arg(long)]
    in_place: bool,
    /// Print the difference in place of the file
    #[arg(long)]
    diff: bool,
}

/// What became of a file.
pub struct Result {
    pub name: String,
    pub old: String,
    pub new: String,
    /// The report: line and text.
    pub lines: Vec<(usize, String)>,
}

impl OutputArgs {
    /// # Errors
    /// Several files to print, standard input to write, and files that cannot be written.
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

/// Replaces the file at once, so that no reader finds half of it; links stay links.
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
        // A file that is mounted by itself, or a directory without the right to write.
        let _ = std::fs::remove_file(&draft);
        std::fs::write(&path, text)
    })
}
