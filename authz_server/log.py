"""Our own events: one JSON object a line on standard error, an event name plus fields.

    log.info("bundle_loaded", extra={"fields": {"revision": revision}})

Emitting never writes: lines wait in a bounded queue for a thread, so an event on the request path costs microseconds even when
nobody reads standard error. Of an exception, type and places are written; its message only where it can't carry a value of a
call.
"""

import atexit
import contextlib
import logging
import os
import time
import traceback
from collections import deque
from threading import Event, Thread
from typing import Any, Final

import msgspec

from authz_server.engine.errors import MeshwardenError, cut

__all__ = ["MAX_WAITING", "JsonFormatter", "StateLog", "StderrHandler", "configure"]

MAX_WAITING: Final = 2_000
"""Events that wait to be written; more are counted and reported as one event."""
_FLUSH_SECONDS: Final = 0.1
_CLOSE_SECONDS: Final = 1.0
_STDERR: Final = 2
_MAX_FRAMES: Final = 12
_TELLING: Final = (MeshwardenError, OSError, TypeError, AttributeError, NameError, RecursionError, MemoryError)
"""Exceptions whose message is about the code or the disk; that of a ValueError or KeyError may quote what a client sent."""

_encode = msgspec.json.Encoder(enc_hook=str).encode


class JsonFormatter(logging.Formatter):
    """Turns a log record into one line of JSON: ts (seconds since the epoch), level, event, logger, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Format one record; fields can't overwrite what every line has."""
        line: dict[str, Any] = {"ts": round(record.created, 6), "level": record.levelname.lower(), "event": record.getMessage()}
        line["logger"] = record.name
        fields = getattr(record, "fields", None)
        if isinstance(fields, dict):
            line.update({str(name): value for name, value in fields.items() if name not in line})
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            line["error"] = type(error).__name__
            if isinstance(error, _TELLING):
                line["message"] = cut(error)
            frames = traceback.extract_tb(error.__traceback__)[-_MAX_FRAMES:]
            line["at"] = [f"{os.path.basename(f.filename)}:{f.lineno} {f.name}" for f in frames]  # noqa: PTH119
        try:
            return _encode(line).decode()
        except (TypeError, ValueError, RecursionError):
            return _encode({**dict(list(line.items())[:4]), "unreadable_fields": True}).decode()


class StderrHandler(logging.Handler):
    """Writes records to a file descriptor from its own thread; `emit` only appends. `dropped` counts what didn't fit."""

    def __init__(self, descriptor: int = _STDERR) -> None:
        super().__init__()
        self.dropped = 0
        self._descriptor = descriptor
        self._waiting: deque[logging.LogRecord] = deque()
        self._reported = 0
        self._stopping = False
        self._wake = Event()
        self._thread = Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record; formatted later, so that the caller doesn't pay for it."""
        if len(self._waiting) >= MAX_WAITING:
            self.dropped += 1
        else:
            self._waiting.append(record)

    def flush(self) -> None:
        """Wait until the thread has written what waits, at most a second: it may be stuck in a write that nobody reads."""
        deadline = time.monotonic() + _CLOSE_SECONDS
        self._wake.set()
        while (self._waiting or self._wake.is_set()) and self._thread.is_alive() and time.monotonic() < deadline:
            time.sleep(0.005)

    def close(self) -> None:
        """Write what waits and stop; gives up after a second."""
        self._stopping = True
        self._wake.set()
        self._thread.join(_CLOSE_SECONDS)
        super().close()

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait(_FLUSH_SECONDS)
            if self._waiting or self.dropped != self._reported:
                self._write()
            self._wake.clear()
        self._write()

    def _write(self) -> None:
        lines: list[str] = []
        while self._waiting:
            record = self._waiting.popleft()
            try:
                lines.append(self.format(record))
            except Exception:  # a record that can't be formatted must not end the thread that writes all others
                lines.append('{"level":"error","event":"unreadable_event"}')
        dropped = self.dropped
        if dropped != self._reported:
            fields = {"fields": {"count": dropped - self._reported}}
            lines.append(
                self.format(logging.makeLogRecord({"levelname": "WARNING", "name": __name__, "msg": "events_dropped", **fields}))
            )
            self._reported = dropped
        data = "".join([line + "\n" for line in lines]).encode("utf-8", "replace")
        with contextlib.suppress(OSError):
            while data:
                data = data[os.write(self._descriptor, data) :]


def configure(level: str) -> StderrHandler:
    """Send all events from `level` up to standard error, as JSON lines; replaces what was configured before."""
    handler = StderrHandler()
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(level.upper())
    atexit.register(handler.close)
    return handler


class StateLog:
    """Says once that something went bad, once that it went bad otherwise, and once that it is good again."""

    def __init__(self, logger: logging.Logger, bad_event: str, good_event: str) -> None:
        self._logger = logger
        self._bad_event = bad_event
        self._good_event = good_event
        self._problem = ""

    def bad(self, problem: str, **fields: object) -> bool:
        """Take note of a problem; return whether it is news (then it was logged, as a warning)."""
        if problem == self._problem:
            return False
        self._problem = problem
        self._logger.warning(self._bad_event, extra={"fields": fields or {"problem": problem}})
        return True

    def good(self, **fields: object) -> bool:
        """Take note that all is well; return whether it is news (then it was logged)."""
        if not self._problem:
            return False
        self._problem = ""
        self._logger.info(self._good_event, extra={"fields": fields})
        return True
