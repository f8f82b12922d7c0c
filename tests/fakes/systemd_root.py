"""A real systemd as process 1 of a copy-on-write image of this machine, with files of our own on top."""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from agent.demo.cluster import hidden_paths

SCRIPT = Path(__file__).with_suffix(".sh")
PROGRAMS = ("systemctl", "systemd-analyze", "unshare", "nsenter", "setpriv", "ip")
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


def missing() -> str:
    """Return "" when a systemd can be started on this machine, else the reason in one line."""
    if os.geteuid() != 0:
        return "not root"
    absent = [name for name in PROGRAMS if not shutil.which(name, path=PATH)]
    if absent:
        return f"programs are missing: {' '.join(absent)}"
    probe = subprocess.run(["bash", SCRIPT, "probe"], capture_output=True, text=True, check=False, timeout=30)
    if probe.returncode != 0:
        return f"no namespaces, overlay mounts or cgroup v2 here: {(probe.stderr.splitlines() or ['?'])[-1]}"
    return ""


def until(look: Callable[[], object], what: str, *, seconds: float) -> float:
    """Return after how many seconds `look()` was true; fail when it never was."""
    began = time.monotonic()
    while not look():
        took = time.monotonic() - began
        assert took < seconds, f"after {took:.1f} s still not: {what}"
        time.sleep(0.05)
    return time.monotonic() - began


class SystemdRoot:
    """A machine that runs. `files` of `running` are on its disk before systemd starts."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @classmethod
    @contextlib.contextmanager
    def running(cls, directory: Path, files: Mapping[str, str], system: Path = Path("/")) -> Iterator["SystemdRoot"]:
        """Start a machine under `directory`, which must not exist; end it and remove that at the end.

        It is a copy of `system`, which nothing changes.
        """
        (directory / "files").mkdir(parents=True)
        for path, text in files.items():
            place = directory / "files" / path.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
        shown = {**os.environ, "LAB_ROOT": str(system), "LAB_BINDS": "\n".join(map(str, hidden_paths()))}
        keep = ["bash", SCRIPT, "keep", directory]
        with subprocess.Popen(keep, stdin=subprocess.PIPE, start_new_session=True, env=shown) as it:
            machine = cls(directory)
            try:
                until(machine._is_up, f"systemd up, see {directory}/console.log", seconds=30)
                yield machine
            finally:
                it.stdin.close()
                it.wait(timeout=30)
        shutil.rmtree(directory)

    def _is_up(self) -> bool:
        if not (self._directory / "pid").exists():
            return False
        return self.run("systemctl", "is-system-running").stdout.strip() in {"running", "degraded"}

    @property
    def pid(self) -> str:
        """The pid of its process 1 as it is known out here."""
        return (self._directory / "pid").read_text().strip()

    @contextlib.contextmanager
    def _again(self) -> Iterator[None]:
        before = self.pid
        yield
        until(lambda: self.pid != before and self._is_up(), f"up again, see {self._directory}/console.log", seconds=60)

    def reboot(self) -> None:
        """Stop everything in its order and start again on the same disk; /run and /tmp are empty then."""
        with self._again():
            self.run("systemctl", "reboot", "--no-block")

    def power_cycle(self) -> None:
        """Cut it off, and start again on the same disk."""
        with self._again():
            (self._directory / "cut").touch()
            os.kill(int(self.pid), signal.SIGKILL)

    def command(self, *argv: str, user: str = "root") -> Sequence[str]:
        """Return the arguments that run `argv` inside, in a clean environment; it dies with who runs it."""
        inside = ["nsenter", "-t", self.pid, "-m", "-n", "-p", "-u", "-i", "-C", "-r", "-w", "--"]
        who = pwd.getpwnam(user)
        become = ["setpriv", f"--reuid={who.pw_uid}", f"--regid={who.pw_gid}", "--clear-groups", "--pdeathsig=KILL"]
        return [*inside, "env", "-i", "-C", "/", f"PATH={PATH}", "LANG=C.UTF-8", *become, "--", *argv]

    def run(self, *argv: str, user: str = "root", seconds: float = 30) -> subprocess.CompletedProcess[str]:
        """Run `argv` inside and return what it printed."""
        command = self.command(*argv, user=user)
        return subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=seconds, stdin=subprocess.DEVNULL
        )

    def did(self, *argv: str) -> str:
        """Run `argv` inside, which must go well; return what it printed."""
        done = self.run(*argv)
        assert done.returncode == 0, (argv, done)
        return done.stdout

    def write(self, path: str, text: str) -> None:
        """Write a file inside."""
        place = self.inside(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)

    def inside(self, path: str) -> Path:
        """Return where an absolute path of the machine is found from here."""
        return Path(f"/proc/{self.pid}/root{path}")

    def shown(self, unit: str, name: str) -> str:
        return self.did("systemctl", "show", "--value", "-p", name, unit).strip()
