"""The recorder: calls and outcomes from the request path to segments, without ever making an answer wait.

In: what was decided, put into a bounded queue (under a microsecond). Out: JSON lines, encoded and written by one background
thread, at most `flush_seconds` later. A full queue or a full disk costs records, which are counted by cause, and nothing else.
"""

import logging
import threading
import time
from collections import Counter, deque
from enum import StrEnum
from typing import Final

from authz_server.engine.call import Call
from authz_server.engine.errors import cut
from authz_server.engine.record import OutcomeRecord, encode_record, to_call_record
from authz_server.engine.verdict import Verdict
from authz_server.segment_name import SegmentKind
from authz_server.segments import SegmentWriter

__all__ = ["MAX_QUEUE", "DropCause", "Recorder"]

MAX_QUEUE: Final = 5_000
"""Some 4 KB each, so 20 MB where the disk stands still; at 3,000 calls a second 750 wait."""
_BATCH: Final = 4096
_BITE: Final = 8
"""Records encoded before the thread lets go of the interpreter, about 100 microseconds."""
_PAUSE: Final = 0.0002
_RETRY_SECONDS: Final = 1.0

_log = logging.getLogger(__name__)


class DropCause(StrEnum):
    """Why a record was lost; also a metric label."""

    QUEUE_FULL = "queue_full"
    DISK = "disk"
    """The queue was full because the disk took nothing, or it still took nothing at the end."""
    ENCODING = "encoding"
    CLOSED = "closed"
    TRIMMED = "trimmed"
    """Written, and deleted again to keep the directory within its bound (or by somebody else)."""


_Item = tuple[Call, Verdict] | OutcomeRecord


class Recorder:
    """Owns `writer`. `put_call` and `put_outcome` are for any thread and never block or raise."""

    def __init__(self, writer: SegmentWriter, max_queue: int = MAX_QUEUE, flush_seconds: float = 0.25) -> None:
        self._writer = writer
        self._max_queue = max_queue
        self._flush_seconds = flush_seconds
        self._queue: deque[_Item] = deque()
        self._pending: dict[SegmentKind, tuple[bytes, int]] = {}
        self._lock = threading.Lock()
        self._drops: Counter[DropCause] = Counter()
        self._failing = False
        self._retry_at = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self.written = 0
        """Records handed to the operating system."""

    def put_call(self, call: Call, verdict: Verdict) -> None:
        """Record a call and what was decided about it."""
        if len(self._queue) < self._max_queue and not self._stop.is_set():
            self._queue.append((call, verdict))
        else:
            self._refuse()

    def put_outcome(self, record: OutcomeRecord) -> None:
        """Record how a call ended."""
        if len(self._queue) < self._max_queue and not self._stop.is_set():
            self._queue.append(record)
        else:
            self._refuse()

    @property
    def queue_depth(self) -> int:
        """Records that wait, encoded ones too."""
        return len(self._queue) + sum([lines for _, lines in list(self._pending.values())])

    @property
    def dropped(self) -> dict[DropCause, int]:
        """Records lost, by cause; every cause is there."""
        trimmed = self._writer.removed_lines + self._writer.finisher.lost_lines
        return {cause: trimmed if cause is DropCause.TRIMMED else self._drops[cause] for cause in DropCause}

    @property
    def uploaded(self) -> int:
        """Segments uploaded by this process."""
        return self._writer.finisher.uploaded

    @property
    def upload_failures(self) -> int:
        """Uploads tried in vain; each is tried again."""
        return self._writer.finisher.upload_failures

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def close(self, timeout_seconds: float = 10.0) -> bool:
        """Write, finish and upload what is left, at most this long; tells whether nothing was lost or left behind."""
        deadline = time.monotonic() + timeout_seconds
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_seconds)
        if self._thread.is_alive():
            _log.warning("recorder_not_closed", extra={"fields": {"left": self.queue_depth}})
            return False
        self._drain(last=True)
        if left := self.queue_depth:
            self._drop(DropCause.DISK, left)
        done = self._writer.close(max(0.1, deadline - time.monotonic()))
        if left or not done:
            fields = {"lost": left, "directory": cut(self._writer.directory), "segments_left": not done}
            _log.warning("recorder_left_behind", extra={"fields": fields})
        return done and not left

    def _refuse(self) -> None:
        if self._stop.is_set():
            self._drop(DropCause.CLOSED)
        else:
            self._drop(DropCause.DISK if self._failing else DropCause.QUEUE_FULL)

    def _drop(self, cause: DropCause, count: int = 1) -> None:
        with self._lock:  # held for one addition, never during I/O
            self._drops[cause] += count

    def _run(self) -> None:
        while not self._stop.wait(self._flush_seconds):
            self._drain()

    def _drain(self, *, last: bool = False) -> None:
        """Write everything that waits; while the disk refuses, try again every second. Never raises."""
        if self._failing and not last and time.monotonic() < self._retry_at:
            return
        try:
            self._write_pending()
            while self._queue:
                self._encode_batch()
                self._write_pending()
            self._writer.tick()
        except Exception as error:  # the disk's, or a mistake of ours, which must not end recording unseen
            self._retry_at = time.monotonic() + _RETRY_SECONDS
            if not self._failing:
                problem = cut(f"{type(error).__name__}: {error}")
                fields = {"directory": cut(self._writer.directory), "error": problem}
                _log.warning("recorder_write_failed", extra={"fields": fields})
            self._failing = True
        else:
            if self._failing:
                lost = self._drops[DropCause.DISK]
                _log.info("recorder_write_recovered", extra={"fields": {"lost": lost}})
            self._failing = False

    def _encode_batch(self) -> None:
        lines: dict[SegmentKind, list[bytes]] = {SegmentKind.CALLS: [], SegmentKind.OUTCOMES: []}
        for n in range(min(len(self._queue), _BATCH)):
            if n % _BITE == _BITE - 1:
                time.sleep(_PAUSE)  # a thread that answers Envoy would else wait 5 ms for the interpreter
            item = self._queue.popleft()
            try:
                if isinstance(item, OutcomeRecord):
                    lines[SegmentKind.OUTCOMES].append(encode_record(item))
                else:
                    lines[SegmentKind.CALLS].append(encode_record(to_call_record(*item)))
            except Exception:
                if not self._drops[DropCause.ENCODING]:
                    _log.exception("record_not_encoded")
                self._drop(DropCause.ENCODING)
        self._pending = {kind: (b"\n".join(some) + b"\n", len(some)) for kind, some in lines.items() if some}

    def _write_pending(self) -> None:
        for kind in list(self._pending):
            data, count = self._pending[kind]
            self._writer.write(kind, data, count)
            self.written += count
            self._pending.pop(kind)
