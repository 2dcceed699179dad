//! Child processes that cannot outlive the test, their folders and their ports.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{mpsc, LazyLock, Mutex, MutexGuard};

/// The project's root; of the crate that is built or, as for `bench/`, above it.
pub fn root() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let is_root = |dir: &&Path| dir.join("envoy/envoy.yaml").exists();
    package.ancestors().find(is_root).unwrap_or(package)
}

/// The command `headgate`, where cargo builds it: beside the folder of this test's program.
pub fn native_command() -> PathBuf {
    let test = std::env::current_exe().expect("this program");
    let command = test
        .ancestors()
        .nth(2)
        .expect("the target folder")
        .join("headgate");
    assert!(
        command.exists(),
        "{command:?} is not built: cargo build -p headgate-cli"
    );
    command
}

/// A program that was started; killed when dropped.
pub struct Process {
    child: Mutex<Child>,
}

impl Process {
    /// Starts a program with its output in `dir/log`. A missing program panics with the remedy.
    pub fn start(command: Command, dir: &Path) -> Process {
        let child = Mutex::new(begin(command, dir));
        Process { child }
    }

    /// Kills it, where it still runs, and starts a program in its place.
    pub fn restart(&self, command: Command, dir: &Path) {
        let mut child = self.child();
        kill(&mut child);
        *child = begin(command, dir);
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub fn id(&self) -> u32 {
        self.child().id()
    }

    /// The exit code, once it has ended; a death by signal is -1.
    pub fn exited(&self) -> Option<i32> {
        self.child()
            .try_wait()
            .expect("a child to wait for")
            .map(|status| status.code().unwrap_or(-1))
    }

    /// Sends a signal, e.g. `libc::SIGSTOP`.
    pub fn signal(&self, signal: i32) {
        let id = self.id();
        let sent = unsafe { libc::kill(id as libc::pid_t, signal) };
        assert_eq!(sent, 0, "signal {signal} to {id}");
    }

    /// Ends it by SIGKILL and waits.
    pub fn kill(&self) {
        kill(&mut self.child());
    }

    /// Ends it by SIGTERM and waits.
    pub fn terminate(&self) {
        self.signal(libc::SIGTERM);
        let _ = self.child().wait();
    }

    /// SIGSTOP: it keeps its connections and answers nothing.
    pub fn freeze(&self) {
        self.signal(libc::SIGSTOP);
    }

    pub fn thaw(&self) {
        self.signal(libc::SIGCONT);
    }
}

fn begin(mut command: Command, dir: &Path) -> Child {
    let log = File::options()
        .create(true)
        .append(true)
        .open(dir.join("log"))
        .expect("a log file");
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a log file"))
        .stderr(log);
    let program = command.get_program().to_string_lossy().into_owned();
    match spawn(command) {
        Ok(child) => child,
        Err(error) => {
            panic!("cannot start {program}: {error}; `make setup` installs what the tests need")
        }
    }
}

fn kill(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

type Order = (Command, mpsc::Sender<std::io::Result<Child>>);

/// Children are started by one thread that lives as long as the process: PR_SET_PDEATHSIG fires when the thread
/// that started the child ends, and a test's thread ends long before a shared cluster may.
static SPAWNER: LazyLock<Mutex<mpsc::Sender<Order>>> = LazyLock::new(|| {
    let (orders, inbox) = mpsc::channel::<Order>();
    std::thread::spawn(move || {
        for (mut command, reply) in inbox {
            unsafe {
                command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                });
            }
            let _ = reply.send(command.spawn());
        }
    });
    Mutex::new(orders)
});

fn spawn(command: Command) -> std::io::Result<Child> {
    let (reply, answer) = mpsc::channel();
    let spawner = SPAWNER.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    spawner.send((command, reply)).expect("the spawner thread");
    answer.recv().expect("the spawner thread")
}

/// A new folder under `target/tmp/e2e-<pid>`. What dead test processes left behind is removed first.
pub fn new_dir(name: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    static BASE: LazyLock<PathBuf> = LazyLock::new(|| {
        let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
        for entry in fs::read_dir(tmp).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let dead = |pid: &str| !Path::new("/proc").join(pid).exists();
            if name.strip_prefix("e2e-").is_some_and(dead) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        tmp.join(format!("e2e-{}", std::process::id()))
    });
    let dir = BASE.join(format!("{:03}-{name}", NEXT.fetch_add(1, Ordering::Relaxed)));
    fs::create_dir_all(&dir).expect("a folder for a process");
    dir
}

/// Whether something takes connections on this loopback port.
pub fn listens(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

/// A loopback port that is free now, and so is the one 10,000 above it (Redis's cluster bus).
///
/// Both lie below the range from which the kernel takes ports of outgoing connections (32,768 up): a port found by
/// binding to 0 could be taken by a client's connection before its server has started.
pub fn free_port() -> u16 {
    const FIRST: u32 = 11_000;
    const COUNT: u32 = 11_700;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id().wrapping_mul(61);
    for _ in 0..COUNT {
        let offset = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = (FIRST + offset) as u16;
        let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if free(port) && free(port + 10_000) {
            return port;
        }
    }
    panic!("no free port from {FIRST} on");
}
