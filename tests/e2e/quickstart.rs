//! `docs/quickstart.md`: every command of the page is run, in its order, in one shell, and prints what the page shows.
//!
//! A block `sh` is run. The block `text` after it is what it prints; `…` stands for anything within a line, and a line
//! with nothing else for any lines. The page's ports are replaced by free ones.

use crate::harness::*;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The ports that the page uses.
const PORTS: [&str; 4] = ["10000", "9901", "8080", "6379"];
/// How long all commands together may take. A debug build on a busy machine takes 20 s.
const LONGEST: Duration = Duration::from_secs(180);

struct Step {
    command: String,
    prints: Option<String>,
}

/// The page's blocks, in order.
fn steps(page: &str) -> Vec<Step> {
    let mut steps = Vec::<Step>::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(language) = line.strip_prefix("```") else {
            continue;
        };
        let block: String = lines
            .by_ref()
            .take_while(|line| !line.starts_with("```"))
            .map(|line| format!("{line}\n"))
            .collect();
        match language {
            "sh" => steps.push(Step {
                command: block,
                prints: None,
            }),
            "text" => {
                let step = steps.last_mut().expect("a command before what it prints");
                assert!(step.prints.is_none(), "two outputs of {}", step.command);
                step.prints = Some(block);
            }
            _ => {}
        }
    }
    steps
}

/// Whether the line is as the pattern says, in which `…` is any text.
fn line_fits(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.split('…');
    let Some(mut rest) = parts.next().and_then(|first| line.strip_prefix(first)) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    true
}

fn fits(pattern: &[&str], lines: &[&str]) -> bool {
    match pattern.split_first() {
        None => lines.is_empty(),
        Some((&"…", rest)) => (0..=lines.len()).any(|skipped| fits(rest, &lines[skipped..])),
        Some((first, rest)) => lines
            .split_first()
            .is_some_and(|(line, others)| line_fits(first, line) && fits(rest, others)),
    }
}

/// A shell and all that it started, ended when dropped.
struct Shell(Child);

impl Drop for Shell {
    fn drop(&mut self) {
        // SAFETY: `kill` takes any number; the group is the shell's own.
        unsafe { libc::kill(-(self.0.id() as libc::pid_t), libc::SIGKILL) };
        let _ = self.0.wait();
    }
}

/// A directory that looks like the project's, with what `make build cli` makes.
fn project() -> std::path::PathBuf {
    let dir = new_dir("quickstart");
    let link = |from: &Path, to: &str| {
        std::os::unix::fs::symlink(from, dir.join(to)).expect("a link");
    };
    std::fs::create_dir(dir.join("target")).expect("a directory");
    link(&filter_module(), "target/headgate.wasm");
    link(&native_command(), "target/headgate");
    link(&root().join("docs"), "docs");
    link(&root().join("dashboards"), "dashboards");
    std::fs::create_dir(dir.join("bin")).expect("a directory");
    link(&envoy_binary(default_envoy()), "bin/envoy");
    // Both are built already: `make test` has done what this would do.
    std::fs::write(dir.join("Makefile"), "build cli:\n\t@true\n").expect("a file");
    dir
}

#[test]
fn every_command_of_the_quick_start_does_what_it_says() {
    let mut page = std::fs::read_to_string(root().join("docs/quickstart.md")).expect("the page");
    for port in PORTS {
        assert!(page.contains(port), "the page does not use {port}");
        page = page.replace(port, &free_port().to_string());
    }
    let steps = steps(&page);
    assert!(steps.len() > 8, "{} commands", steps.len());

    let dir = project();
    let mut script = String::from("set -u\ntrap 'exit 1' TERM\n");
    for (number, step) in steps.iter().enumerate() {
        script += &format!("echo '@@ {number}'\n{}status=$?\n", step.command);
        script += "[ $status = 0 ] || { echo \"@@ status $status\"; exit 1; }\n";
    }
    std::fs::write(dir.join("script"), script).expect("a file");
    let output = dir.join("output");
    let file = std::fs::File::create(&output).expect("a file");
    let path = std::env::var("PATH").expect("PATH");
    let child = Command::new("bash")
        .arg("script")
        .current_dir(&dir)
        .env("PATH", format!("{}:{path}", dir.join("bin").display()))
        .stdin(Stdio::null())
        .stdout(file.try_clone().expect("a file"))
        .stderr(file)
        .process_group(0)
        .spawn()
        .expect("bash");
    let mut shell = Shell(child);
    let begun = Instant::now();
    let ended = loop {
        if let Some(status) = shell.0.try_wait().expect("a child") {
            break Some(status);
        }
        if begun.elapsed() > LONGEST {
            break None;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let printed = std::fs::read_to_string(&output).expect("UTF-8");
    assert!(
        ended.is_some_and(|status| status.success()),
        "{ended:?} in {}: {printed}",
        dir.display()
    );
    let mut parts = printed.split("@@ ").skip(1);
    for step in &steps {
        let part = parts.next().expect("each command was run");
        let lines: Vec<&str> = part.lines().skip(1).collect();
        if let Some(prints) = &step.prints {
            let pattern: Vec<&str> = prints.lines().collect();
            let shown = lines.join("\n");
            assert!(
                fits(&pattern, &lines),
                "{}prints\n{shown}\nand not\n{prints}",
                step.command
            );
        }
    }
}

#[test]
fn a_printed_line_fits_its_pattern_only() {
    for (pattern, line, expected) in [
        ("a … c", "a b c", true),
        ("a …", "a b c", true),
        ("… c", "a b c", true),
        ("a", "a b", false),
        ("a … d", "a b c", false),
        ("HTTP/1.1 …", "HTTP/2 200", false),
    ] {
        assert_eq!(line_fits(pattern, line), expected, "{pattern} against {line}");
    }
    assert!(fits(&["…", "b"], &["a", "x", "b"]));
    assert!(!fits(&["…", "b"], &["a", "b", "c"]));
}
