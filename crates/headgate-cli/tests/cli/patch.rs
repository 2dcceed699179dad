//! `headgate patch` and `unpatch` as a user runs them: what goes to which output, what is written, the exit status.

use super::{good, headgate, stderr, stdout};
use std::path::{Path, PathBuf};

const ENVOY: &str = r#"# mine
static_resources:
  listeners:
  - name: front
    address: {socket_address: {address: 127.0.0.1, port_value: 10000}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: x
          use_remote_address: no   # old
          http_filters:
          - name: envoy.filters.http.router
"#;

const POLICY: &str = "identify: [{header: x-api-key}, {name: token, header: authorization, extract: \"(?i:bearer) +(.+)\"}, {address: {}}]\non_ambiguous_client: deny\nlimits:\n- {name: a, rate: 100/minute}   # mine\n- {name: ceiling, rate: 3000/minute, key: [address]}\n";

/// A folder with both files, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let dir = std::env::temp_dir().join(format!("headgate-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a folder");
        let folder = Folder(dir);
        folder.write("envoy.yaml", ENVOY);
        folder.write("policy.yaml", POLICY);
        folder
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.join(name), text).expect("a file");
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).expect("a file")
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_string_lossy().into_owned()
    }

    /// Patches envoy.yaml: exit status, standard output, standard error.
    fn patch(&self, options: &[&str]) -> (i32, String, String) {
        let (file, policy) = (self.path("envoy.yaml"), self.path("policy.yaml"));
        let output = headgate(&[&["patch", &file, "--policy", &policy], options].concat(), "");
        (
            output.status.code().expect("a status"),
            stdout(&output),
            stderr(&output),
        )
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const REDIS: [&str; 2] = ["--redis", "redis://127.0.0.1:6379"];

#[test]
fn the_file_is_printed_and_the_report_is_apart() {
    let folder = Folder::new("printed");
    // Any file that exists is the module here.
    let module = folder.path("policy.yaml");
    let (status, text, report) = folder.patch(&[&REDIS[..], &["--edge", "--module", &module]].concat());
    assert_eq!(status, 0, "{report}");
    assert!(text.contains("- {name: a, rate: 100/minute}   # mine"), "{text}");
    assert_eq!(folder.read("envoy.yaml"), ENVOY);
    let file = folder.path("envoy.yaml");
    for line in report.lines().filter(|line| !line.contains(": hint: ")) {
        let place = line
            .strip_prefix(&format!("{file}:"))
            .unwrap_or_else(|| panic!("{line}"));
        let (number, what) = place.split_once(": ").expect("a line's number");
        let number: usize = number.parse().expect("a number");
        assert!((1..=text.lines().count()).contains(&number), "{line}");
        if what.contains("use_remote_address") {
            assert!(
                text.lines()
                    .nth(number - 1)
                    .is_some_and(|line| line.contains("use_remote_address: true")),
                "{line}"
            );
        }
    }
    for part in [
        "added HTTP filter headgate in front",
        "added internal listener redis_call",
        "added clusters redis_call",
        "added bootstrap extension",
        "added stats labels",
        "added runtime setting",
        "added access log",
        "changed use_remote_address to true (--edge)",
        "added normalize_path: true",
    ] {
        assert_eq!(
            report.lines().filter(|line| line.contains(part)).count(),
            1,
            "{part}\n{report}"
        );
    }
    good(&["check", "--strict", "-"], &text);
}

#[test]
fn without_being_told_the_status_is_3() {
    let folder = Folder::new("silent");
    let (status, text, report) = folder.patch(&REDIS);
    assert_eq!(status, 3);
    assert!(
        text.contains("use_remote_address: no   # old\n") && text.contains("vm_id: headgate\n"),
        "{text}"
    );
    assert!(
        report.contains("missing: use_remote_address: callers choose"),
        "{report}"
    );
    let (status, _, report) = folder.patch(&[&REDIS[..], &["--keep-paths"]].concat());
    assert!(
        status == 2 && report.contains("go with --edge or --trusted-proxies"),
        "{report}"
    );
}

#[test]
fn in_place_diff_and_unpatch_belong_together() {
    let folder = Folder::new("place");
    let options = [&REDIS[..], &["--trusted-proxies", "1"]].concat();
    let (_, diff, _) = folder.patch(&[&options[..], &["--diff"]].concat());
    assert!(
        diff.contains("\n+          xff_num_trusted_hops: 1\n") && diff.starts_with("--- "),
        "{diff}"
    );
    assert_eq!(folder.read("envoy.yaml"), ENVOY, "--diff writes nothing");
    let (status, text, _) = folder.patch(&[&options[..], &["--in-place"]].concat());
    assert!(status == 0 && text.is_empty());
    let patched = folder.read("envoy.yaml");
    let (_, diff, report) = folder.patch(&[&REDIS[..], &["--diff"]].concat());
    assert!(
        diff.is_empty() && report.contains("nothing to change"),
        "a second run: {diff}{report}"
    );
    let file = folder.path("envoy.yaml");
    assert_eq!(good(&["unpatch", &file], ""), ENVOY);
    assert_eq!(folder.read("envoy.yaml"), patched);
    good(&["unpatch", "--in-place", &file], "");
    assert_eq!(folder.read("envoy.yaml"), ENVOY);
    let output = headgate(&["unpatch", "-"], ENVOY);
    assert_eq!((stdout(&output).as_str(), output.status.code()), (ENVOY, Some(0)));
    assert!(
        stderr(&output).contains("nothing of `headgate patch` in it"),
        "{output:?}"
    );
}

#[test]
#[cfg(unix)]
fn in_place_keeps_links_and_permissions() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new("links");
    folder.write("real.yaml", ENVOY);
    let real = folder.0.join("real.yaml");
    std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o640)).expect("permissions");
    std::fs::remove_file(folder.0.join("envoy.yaml")).expect("a file");
    std::os::unix::fs::symlink("real.yaml", folder.0.join("envoy.yaml")).expect("a link");
    let (status, _, report) = folder.patch(&[&REDIS[..], &["--edge", "--in-place"]].concat());
    assert_eq!(status, 0, "{report}");
    assert!(Path::new(&folder.path("envoy.yaml")).is_symlink());
    assert!(folder.read("real.yaml").contains("vm_id: headgate"));
    let mode = std::fs::metadata(&real).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    let names: Vec<_> = std::fs::read_dir(&folder.0)
        .expect("a folder")
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert_eq!(names.len(), 3, "no draft is left: {names:?}");
}

#[test]
fn mistakes_end_with_a_remedy_and_print_no_file() {
    let folder = Folder::new("mistakes");
    folder.write("envoy.json", "{}");
    folder.write("broken.yaml", "limits: [{rate: 100/fortnight}]");
    folder.write("guard.yaml", "role: redis_call");
    folder.write("config.yaml", ENVOY);
    folder.write("local.yaml", "store: local\nlimits: [{name: a, rate: 1/s}]");
    let file = |name: &str| folder.path(name);
    let (envoy, policy) = (file("envoy.yaml"), file("policy.yaml"));
    for (arguments, status, words) in [
        (
            vec![envoy.clone(), "--policy".into(), file("broken.yaml")],
            1,
            "unknown period \"fortnight\"",
        ),
        (
            vec![envoy.clone(), "--policy".into(), file("guard.yaml")],
            2,
            "writes by itself",
        ),
        (
            vec![envoy.clone(), "--policy".into(), file("config.yaml")],
            1,
            "no Headgate configuration found",
        ),
        (
            vec![envoy.clone(), "--policy".into(), policy.clone()],
            2,
            "add --redis redis://HOST:PORT",
        ),
        (
            vec![file("envoy.json"), "--policy".into(), policy.clone()],
            2,
            "copy it to a .yaml file",
        ),
        (
            vec![file("none.yaml"), "--policy".into(), policy.clone()],
            2,
            "No such file",
        ),
        (
            vec![
                envoy.clone(),
                "--policy".into(),
                file("local.yaml"),
                "--redis".into(),
                "redis://u:s3cret@r".into(),
            ],
            2,
            "a password in the URL",
        ),
        (
            vec![
                envoy.clone(),
                file("config.yaml"),
                "--policy".into(),
                file("local.yaml"),
            ],
            2,
            "add --in-place",
        ),
        (
            vec![
                "-".into(),
                "--policy".into(),
                file("local.yaml"),
                "--in-place".into(),
            ],
            2,
            "standard input is not a file",
        ),
    ] {
        let arguments: Vec<&str> = std::iter::once("patch")
            .chain(arguments.iter().map(String::as_str))
            .collect();
        let output = headgate(&arguments, ENVOY);
        assert_eq!(
            output.status.code(),
            Some(status),
            "{arguments:?}\n{}",
            stderr(&output)
        );
        assert!(
            stderr(&output).contains(words),
            "{arguments:?}\n{}",
            stderr(&output)
        );
        assert_eq!(stdout(&output), "", "{arguments:?}");
        assert!(!stderr(&output).contains("s3cret"));
    }
}
