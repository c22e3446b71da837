"""The decision log: every decision has a JSON line, or is one of the allows of which a stated share has.

In: Verdicts. Out: lines, and the last decisions. `put` is on the request path: it samples and appends, and a thread writes. A
full queue or disk is counted, never waited for.
"""

import contextlib
import logging
import os
import time
from collections import deque
from itertools import islice
from threading import Event, Thread
from typing import Final
from zlib import crc32

import msgspec

from authz_server.engine.errors import SettingError
from authz_server.engine.finding import Finding
from authz_server.engine.policy import Mode
from authz_server.engine.verdict import Action, Basis, Verdict
from authz_server.log import StateLog

__all__ = ["MAX_WAITING", "DecisionLine", "DecisionLog", "encode_line", "to_line"]

MAX_WAITING: Final = 10_000
"""Decisions that wait to be written, about 1 KB each."""
_BATCH: Final = 500
_FLUSH_SECONDS: Final = 0.1
_ROTATION_SECONDS: Final = 1.0
_STDOUT: Final = 1

_ALLOW: Final = Action.ALLOW
_ERROR: Final = Basis.ERROR


class DecisionLine(msgspec.Struct, frozen=True, kw_only=True):
    """One decision as it is logged. `sample` is the share of its kind that is logged: weigh a line by 1 / `sample`.

    `ts` in seconds since the epoch, `duration_us` what the decision took. `path` is masked, `session` a keyed digest.
    """

    event: str = "decision"
    ts: float
    decision_id: str
    request_id: str
    verdict: Action
    basis: Basis
    mode: Mode
    refused: bool
    workload: str
    endpoint: str
    method: str
    path: str
    caller: str
    session: str
    p_value: float
    score: float
    budget: float
    revision: str
    sample: float
    findings: tuple[Finding, ...]
    duration_us: float


_encode = msgspec.json.Encoder().encode


def to_line(verdict: Verdict, seconds: float, sample: float = 1.0) -> DecisionLine:
    """Tell a Verdict that took `seconds`, as one of the share `sample` that is told."""
    return DecisionLine(
        ts=verdict.ts,
        decision_id=verdict.decision_id,
        request_id=verdict.request_id,
        verdict=verdict.action,
        basis=verdict.basis,
        mode=verdict.mode,
        refused=verdict.refused,
        workload=verdict.workload,
        endpoint=verdict.endpoint,
        method=verdict.method,
        path=verdict.path,
        caller=verdict.caller,
        session=verdict.session,
        p_value=verdict.p_value,
        score=round(verdict.score, 3),
        budget=verdict.budget,
        revision=verdict.revision,
        sample=sample,
        findings=verdict.findings,
        duration_us=round(seconds * 1e6, 1),
    )


def encode_line(line: DecisionLine) -> bytes:
    """Write one line of JSON, with its newline."""
    return _encode(line) + b"\n"


class DecisionLog:
    """Writes decisions to `target` (a file, `-` for standard output, None for nowhere) and remembers the last `keep`.

    Of the allows a share `sample` is written, chosen by the decision id's CRC-32, so the choice can be repeated and doesn't
    follow any rhythm of the traffic; denies, would-be denies and failures are always written. Counters: `written`, `sampled_out`,
    `dropped` (the queue was full), `failed` (the disk refused). Increments rely on the interpreter lock.
    """

    def __init__(self, target: str | None, sample: float = 0.01, keep: int = 200) -> None:
        """Open the target; raises SettingError where that is impossible."""
        self.written = 0
        self.dropped = 0
        self.failed = 0
        self.sampled_out = 0
        self._sample = sample
        self._threshold = int(sample * 2**32)
        self._target = target
        self._last: deque[tuple[Verdict, float]] = deque(maxlen=keep)
        self._last_denied: deque[tuple[Verdict, float]] = deque(maxlen=keep)
        self._waiting: deque[tuple[Verdict, float]] = deque()
        self._stop = Event()
        self._torn = False
        self._look_at = 0.0
        self._reopen = False
        self._state = StateLog(logging.getLogger(__name__), "decision_log_failed", "decision_log_recovered")
        try:
            self._descriptor = self._open()
        except OSError as error:
            raise SettingError(f"decision_log: expected a file that can be written, got {target!r}: {error.strerror}") from error
        self._thread = Thread(target=self._run, name="decision-log", daemon=True)
        if target is not None:
            self._thread.start()

    def put(self, verdict: Verdict, seconds: float) -> None:
        """Take note of a decision that took `seconds`. On the request path: never blocks, never raises; half a microsecond."""
        entry = (verdict, seconds)
        self._last.append(entry)
        if verdict.action is _ALLOW and verdict.basis is not _ERROR:
            if crc32(verdict.decision_id.encode("utf-8", "replace")) >= self._threshold:
                self.sampled_out += 1
                return
        else:
            self._last_denied.append(entry)
        if self._target is None:
            return
        if len(self._waiting) >= MAX_WAITING:
            self.dropped += 1
        else:
            self._waiting.append(entry)

    @property
    def depth(self) -> int:
        """How many decisions wait to be written."""
        return len(self._waiting)

    def last(self, n: int, *, denied: bool = False) -> list[DecisionLine]:
        """Tell the last `n` decisions, the newest first; `denied`: only denies, would-be denies and failures."""
        kept = (self._last_denied if denied else self._last).copy()
        return [self._line(*entry) for entry in islice(reversed(kept), max(0, n))]

    def reopen(self) -> None:
        """Open the file again at the next write, as on SIGHUP after a rotation; safe in a signal handler."""
        self._reopen = True

    def close(self, timeout: float = 2.0) -> None:
        """Write what waits and stop; what standard output's reader doesn't take within `timeout` seconds is lost."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout)
        if self._target not in (None, "-") and not self._thread.is_alive() and self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _line(self, verdict: Verdict, seconds: float) -> DecisionLine:
        sampled = verdict.action is _ALLOW and verdict.basis is not _ERROR
        return to_line(verdict, seconds, self._sample if sampled else 1.0)

    def _open(self) -> int:
        if self._target is None:
            return -1
        if self._target == "-":
            return _STDOUT
        return os.open(self._target, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)

    def _run(self) -> None:
        stopping = False
        while not stopping:
            stopping = self._stop.wait(_FLUSH_SECONDS)
            while self._waiting:
                self._write_batch()

    def _write_batch(self) -> None:
        lines: list[bytes] = []
        while self._waiting and len(lines) < _BATCH:
            lines.append(encode_line(self._line(*self._waiting.popleft())))
        try:
            self._follow_rotation()
            data = b"".join(lines)
            self._write(b"\n" + data if self._torn else data)
        except OSError as error:
            self.failed += len(lines)
            self._state.bad(str(error), target=self._target, error=str(error))
        else:
            self.written += len(lines)
            self._state.good(target=self._target)

    def _write(self, data: bytes) -> None:
        whole = len(data)
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        finally:
            self._torn = 0 < len(data) < whole or (self._torn and len(data) == whole)

    def _follow_rotation(self) -> None:
        """Once a second look whether the file's name still means the file that is open."""
        now = time.monotonic()
        forced = self._reopen
        if self._target is None or self._target == "-" or not (forced or now >= self._look_at):
            return
        self._look_at = now + _ROTATION_SECONDS
        self._reopen = False
        if not forced:
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.stat(self._target), os.fstat(self._descriptor)):  # noqa: PTH116
                    return
        fresh = self._open()
        os.close(self._descriptor)
        self._descriptor = fresh
        self._torn = False
