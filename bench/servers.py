"""The servers under measurement as child processes, and what the system says of them: CPU, memory, time until ready.

CPU is the whole process's, user and system, of every thread: from its CPU clock (clock_getcpuclockid(3), nanoseconds) where
that can be read, else from /proc/PID/stat (10 ms).
"""

import contextlib
import http.client
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from demo.processes import Process, accepts, free_ports

__all__ = ["POLICY", "Running", "cpu_seconds", "ready_seconds", "resident_bytes", "start_empty", "start_real"]

POLICY: Final = Path(__file__).resolve().parents[1] / "demo" / "enforcement.yaml"
"""Dry run, sessions by cookie."""
_READY_TIMEOUT: Final = 60.0
_POLL_SECONDS: Final = 0.002


class Running(msgspec.Struct, frozen=True):
    """A server that answers on `port`; `ready_seconds` from its start to that, or to /readyz where it has one."""

    name: str
    process: Process
    port: int
    ready_seconds: float


def cpu_seconds(pid: int) -> float:
    """Tell how much CPU a process has used."""
    try:
        return time.clock_gettime(~pid << 3 | 2)
    except OSError:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid: int) -> int:
    """Tell how much memory a process has resident."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"expected VmRSS in /proc/{pid}/status")


@contextlib.contextmanager
def start_empty(directory: Path) -> Iterator[Running]:
    """Run the empty handler."""
    [port] = free_ports(1)
    began = time.monotonic()
    process = Process("empty", [sys.executable, "-m", "bench.empty", str(port)], directory / "empty.log")
    try:
        process.wait_ready(accepts(port))
        yield Running("empty", process, port, time.monotonic() - began)
    finally:
        process.stop()


@contextlib.contextmanager
def start_real(name: str, directory: Path, bundle: Path, flags: Sequence[str] = ()) -> Iterator[Running]:
    """Run `python -m authz_server serve` with one check worker; its decision log, as by default, goes to standard output."""
    port, admin = free_ports(2)
    command = [sys.executable, "-m", "authz_server", "serve", "--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}"]
    command += ["--threads", "1", "--bundle", str(bundle), "--policy", str(POLICY), *flags]
    began = time.monotonic()
    process = Process(name, command, directory / f"{name}.log")
    try:
        yield Running(name, process, port, _until_ready(process, admin) - began)
    finally:
        process.stop()


def ready_seconds(directory: Path, bundle: Path, starts: int) -> list[float]:
    """Start and stop the server so often; tell how long each took from exec to /readyz 200."""
    seconds = []
    for _ in range(starts):
        with start_real("start", directory, bundle) as running:
            seconds.append(running.ready_seconds)
    return seconds


def _until_ready(process: Process, port: int) -> float:
    deadline = time.monotonic() + _READY_TIMEOUT
    while time.monotonic() < deadline and process.running:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1.0)
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return time.monotonic()
        connection.close()
        time.sleep(_POLL_SECONDS)
    raise RuntimeError(f"{process.name} did not become ready\n{process.tail()}")
