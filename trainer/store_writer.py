"""Where import and collect write what they read: the recorder's segments, for programs that may wait."""

from types import TracebackType
from typing import Final, Self

from authz_server.engine.errors import StoreError, cut
from authz_server.engine.record import CallRecord, OutcomeRecord, encode_record
from authz_server.segment_name import SegmentKind
from authz_server.segments import SegmentWriter

__all__ = ["StoreWriter"]

_FLUSH_BYTES: Final = 1 << 18


class StoreWriter:
    """Writes records to a store from a program that may wait (import, collect): nothing is dropped, nothing is trimmed.

    `key_id` is that of the Observer which made the records.
    `put` raises StoreError when the disk takes nothing more. Used by one thread; a context manager.
    """

    def __init__(self, store: str, key_id: str, *, spool: str | None = None, segment_seconds: float = 300.0) -> None:
        self._writer = SegmentWriter(store, key_id, max_bytes=None, spool=spool, segment_seconds=segment_seconds)
        self._lines: dict[SegmentKind, list[bytes]] = {SegmentKind.CALLS: [], SegmentKind.OUTCOMES: []}
        self._size = 0
        self.written = 0

    def put(self, record: CallRecord | OutcomeRecord) -> None:
        """Add one record; on disk at the next `flush`, or when 256 KiB have come together."""
        line = encode_record(record)
        self._lines[SegmentKind.CALLS if isinstance(record, CallRecord) else SegmentKind.OUTCOMES].append(line)
        self._size += len(line)
        if self._size >= _FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what has come together, and end segments that are old enough."""
        try:
            for kind, lines in self._lines.items():
                if lines:
                    self._writer.write(kind, b"\n".join(lines) + b"\n", len(lines))
                    self.written += len(lines)
                    lines.clear()
            self._writer.tick()
        except OSError as error:
            raise StoreError(f"{cut(self._writer.directory)}: can't be written: {error.strerror or error}") from error
        self._size = 0

    def close(self, timeout_seconds: float = 300.0) -> None:
        """Flush, finish and upload; raises StoreError where something stayed behind."""
        try:
            self.flush()
        finally:
            done = self._writer.close(timeout_seconds)
        if not done:
            raise StoreError(
                f"{cut(self._writer.target)}: not everything was uploaded; the rest is in {self._writer.directory} and goes up"
                " when something is next written there"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
