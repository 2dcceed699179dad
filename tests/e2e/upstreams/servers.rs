//! The real servers: each is one small program or file in this folder, started for a test and ended with it.

use crate::harness::*;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// How long a server may take to listen, on a machine that is busy.
const READY: Duration = Duration::from_secs(30);

/// A server on a loopback port; ended when dropped.
pub struct UpstreamServer {
    pub name: &'static str,
    pub port: u16,
    /// Its handler `user` takes one segment; otherwise whatever follows `/users/`.
    pub one_segment: bool,
    process: Process,
    dir: PathBuf,
}

impl UpstreamServer {
    /// Django behind uvicorn, which hands it percent-decoded paths.
    pub fn django_under_uvicorn() -> UpstreamServer {
        UpstreamServer::django("uvicorn")
    }

    /// Django behind Python's own WSGI server, which also merges slashes at the start.
    pub fn django_under_wsgiref() -> UpstreamServer {
        UpstreamServer::django("wsgiref")
    }

    fn django(name: &'static str) -> UpstreamServer {
        let packages = root().join(".tools/python-upstreams");
        assert!(
            packages.exists(),
            "no Django in {}: run `make setup`",
            packages.display()
        );
        let port = free_port();
        let mut command = Command::new("python3");
        command
            .env("PYTHONPATH", packages)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .arg(here().join("django_app.py"))
            .args([name, &port.to_string()]);
        UpstreamServer::start(name, port, true, command, new_dir(name))
    }

    /// nginx with an exact location for the login, and prefixes for the rest.
    pub fn nginx() -> UpstreamServer {
        let [port, other] = [free_port(), free_port()];
        UpstreamServer::nginx_on("nginx", port, [port, other])
    }

    /// nginx with locations that are regular expressions and ignore case.
    pub fn nginx_in_any_case() -> UpstreamServer {
        let [port, other] = [free_port(), free_port()];
        UpstreamServer::nginx_on("nginx, any case", port, [other, port])
    }

    fn nginx_on(name: &'static str, port: u16, [exact, any_case]: [u16; 2]) -> UpstreamServer {
        let dir = new_dir("nginx");
        let text = std::fs::read_to_string(here().join("nginx.conf")).expect("nginx's configuration");
        let text = text
            .replace("{exact}", &exact.to_string())
            .replace("{any_case}", &any_case.to_string());
        std::fs::write(dir.join("nginx.conf"), text).expect("nginx's configuration");
        let places = [
            "/usr/sbin/nginx".into(),
            root().join(".tools/nginx/usr/sbin/nginx"),
        ];
        let found = places.into_iter().find(|place| place.exists());
        let mut command = Command::new(found.unwrap_or_else(|| "nginx".into()));
        command.args(["-e", "stderr", "-c", "nginx.conf", "-p"]).arg(&dir);
        UpstreamServer::start(name, port, false, command, dir)
    }

    pub fn express() -> UpstreamServer {
        assert!(
            here().join("node_modules/express").exists(),
            "no Express: run `make setup`"
        );
        let port = free_port();
        let mut command = Command::new("node");
        command.arg(here().join("express.js")).arg(port.to_string());
        UpstreamServer::start("express", port, true, command, new_dir("express"))
    }

    /// The JDK's own server; `None`, and a line of output, where there is no JDK.
    pub fn jdk() -> Option<UpstreamServer> {
        UpstreamServer::java("jdk", "JdkServer.java", None)
    }

    /// Tomcat; `None`, and a line of output, where it or a JDK is missing.
    pub fn tomcat() -> Option<UpstreamServer> {
        let jar = root().join(".tools/tomcat/usr/share/java/tomcat10-embed-core.jar");
        if !jar.exists() {
            println!("left out: no Tomcat; `make setup` fetches it where there is a JDK");
            return None;
        }
        UpstreamServer::java("tomcat", "TomcatServer.java", Some(jar))
    }

    fn java(name: &'static str, program: &str, jar: Option<PathBuf>) -> Option<UpstreamServer> {
        if Command::new("javac").arg("-version").output().is_err() {
            println!("left out: no JDK, and so no {name}");
            return None;
        }
        let (port, dir) = (free_port(), new_dir(name));
        let mut command = Command::new("java");
        // The JDK's server writes an answer in two parts, the second of which would wait for the first's receipt.
        command.arg("-Dsun.net.httpserver.nodelay=true");
        command.args(jar.iter().flat_map(|jar| ["-cp".as_ref(), jar.as_os_str()]));
        command.arg(here().join(program)).arg(port.to_string()).arg(&dir);
        Some(UpstreamServer::start(name, port, false, command, dir))
    }

    fn start(
        name: &'static str,
        port: u16,
        one_segment: bool,
        command: Command,
        dir: PathBuf,
    ) -> UpstreamServer {
        let process = Process::start(command, &dir);
        let server = UpstreamServer {
            name,
            port,
            one_segment,
            process,
            dir,
        };
        wait_for(name, READY, || {
            assert!(
                server.process.exited().is_none(),
                "{name} ends:\n{}",
                server.log()
            );
            listens(port).then_some(())
        });
        server
    }

    /// What the server itself has written.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// An Envoy in front of it, with the shipped configuration.
    pub fn behind_shipped_envoy(&self, policy: &str) -> EnvoyBuilder {
        let port = self.port;
        Envoy::local()
            .policy(policy)
            .concurrency(1)
            .edit(move |config| config::set_endpoints(config::cluster(config, "upstream"), &[port]))
    }

    /// An Envoy that hands on paths and header names as they came.
    pub fn behind_plain_envoy(&self, policy: &str) -> EnvoyBuilder {
        self.behind_shipped_envoy(policy).edit(|config| {
            let manager = config::hcm(config).as_object_mut().expect("a connection manager");
            for setting in [
                "normalize_path",
                "merge_slashes",
                "path_with_escaped_slashes_action",
            ] {
                manager.remove(setting);
            }
            if let Some(options) = manager.get_mut("common_http_protocol_options") {
                options
                    .as_object_mut()
                    .expect("options")
                    .remove("headers_with_underscores_action");
            }
        })
    }
}

fn here() -> PathBuf {
    root().join("tests/e2e/upstreams")
}
