"""A place of its own for a run: network, processes and mounts that the kernel removes with the run, however it ends.

`enter` forks. The child is process 1 of its own PID namespace: when it ends, or is killed, everything that it started
ends. Its network has a loopback and what it adds; its mounts are private. /etc, /var/lib and /usr/local/bin are copies
on write, so that programs find their files where a pod has them. Nothing of that reaches the machine."""
import ctypes
import fcntl
import os
import pathlib
import signal
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOLS = ROOT / ".tools/mesh"
OUT = ROOT / "target/meshes"          # logs of the last run, by part
RUN = pathlib.Path("/run/mesh")       # the part's folder of it in the sandbox, where every user can reach it
NEWNS, NEWNET, NEWPID = 0x20000, 0x40000000, 0x20000000
LIBC = ctypes.CDLL(None, use_errno=True)


def fail(message):
    sys.exit(f"meshes: {message}")


def lock():
    """One run at a time for a checkout's tools; held until the process ends."""
    TOOLS.mkdir(parents=True, exist_ok=True)
    file = open(TOOLS / "lock", "a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        fail("another run of make test-meshes is under way; wait until it has ended.")
    return file


def mount(*arguments):
    subprocess.run(["mount", *map(str, arguments)], check=True, capture_output=True, text=True)


def allowed():
    """Whether this user may make the namespaces, tried in a process of its own."""
    tried = subprocess.run(["unshare", "-m", "-n", "-p", "-f", "mount", "-t", "tmpfs", "none", "/mnt"],
                           capture_output=True)
    return tried.returncode == 0


def _prepare(folder):
    mount("--make-rprivate", "/")
    mount("-t", "proc", "proc", "/proc")
    mount("-t", "tmpfs", "-o", "mode=0755", "tmpfs", "/run")
    RUN.mkdir()
    mount("--bind", folder, RUN)
    for name in ("bin", "istio", "gateway"):
        if (TOOLS / name).exists():
            pathlib.Path("/run", name).mkdir()
            mount("--bind", os.path.realpath(TOOLS / name), f"/run/{name}")
    for folder in ("/etc", "/var/lib", "/usr/local/bin"):
        upper, work = pathlib.Path("/run/upper" + folder), pathlib.Path("/run/work" + folder)
        upper.mkdir(parents=True), work.mkdir(parents=True)
        mount("-t", "overlay", "-o", f"lowerdir={folder},upperdir={upper},workdir={work}", "overlay", folder)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def enter(name, work):
    """Runs `work` in a sandbox with the folder `name` for its files; its result is the exit code. Signals to this process
    end the sandbox at once."""
    folder = OUT / name
    subprocess.run(["rm", "-rf", folder], check=True)
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    if LIBC.unshare(NEWNS | NEWNET | NEWPID):
        fail(f"cannot make namespaces: {os.strerror(ctypes.get_errno())}")
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        LIBC.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: not without its parent
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
        code = 1
        try:
            _prepare(folder)
            code = work()
        except SystemExit as end:
            print(end.code, flush=True)
        except subprocess.CalledProcessError as error:
            print(f"meshes: {error}: {error.stdout or ''}{error.stderr or ''}", flush=True)
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)

    def end(number, _):
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        print(f"meshes: ended by {signal.Signals(number).name}; nothing is left running", file=sys.stderr)
        os._exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
