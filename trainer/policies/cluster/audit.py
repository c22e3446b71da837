"""The audit log: one JSON object a line for each object that somebody wanted changed, whatever came of it.

In: entries. Out: a file that only grows. The rule that lives here: a log that can't be written stops an action before it
begins, and each entry is on disk before the next object is touched.
"""

import os
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec

from authz_server.engine.errors import StoreError, cut

__all__ = ["AuditLog", "Entry"]

_MODE: Final = 0o640


class Entry(msgspec.Struct, frozen=True):
    """Who did what to which object, when, where, and what came of it; digests tell what we had applied before and after."""

    ts: str
    who: str
    host: str
    context: str
    action: str
    object: str
    workload: str
    outcome: str
    before: str | None = None
    after: str | None = None
    reason: str = ""
    push: str = ""


class AuditLog:
    """A file that entries are added to; several processes may add at the same time. "-" is standard output."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = 1 if str(path) == "-" else os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, _MODE)
        except OSError as error:
            raise StoreError(f"audit log: expected a file that can be written, got {cut(path)}: {error.strerror}") from error
        self._path = path

    def add(self, entry: Entry) -> None:
        """Add an entry, and wait until it is on disk; raises StoreError."""
        try:
            os.write(self._file, msgspec.json.encode(entry) + b"\n")
            if self._file != 1:
                os.fsync(self._file)
        except OSError as error:
            raise StoreError(f"audit log {cut(self._path)}: expected room to write, got {error.strerror}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._file != 1:
            os.close(self._file)
