"""Append-only segments: where recorded calls and outcomes are written, so that `kill -9` costs at most the last second.

In: whole JSON lines. Out: segments of calls and of outcomes in one directory (`segment_name.py` says how they are called). How a
segment is opened, appended to and rotated is decided here; what happens to it afterwards (compressed, trimmed, uploaded) in
`finisher.py`. Several processes may write to one directory: an open segment is locked (`flock`),
and the kernel drops the lock of a process that died, so anyone can tell a dead segment from a live one.
"""

import contextlib
import hashlib
import os
import secrets
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from authz_server.engine.errors import StoreError, cut
from authz_server.finisher import ClosedSegment, Finisher
from authz_server.segment_name import SegmentKind, SegmentName, default_instance, lock_segment, to_file_name
from authz_server.uploads import Uploader, is_url

__all__ = ["MAX_BYTES", "SEGMENT_BYTES", "SEGMENT_SECONDS", "SegmentWriter", "default_spool"]

SEGMENT_BYTES: Final = 16 << 20
SEGMENT_SECONDS: Final = 300.0
MAX_BYTES: Final = 1 << 30


def default_spool(target: str) -> Path:
    """Name the local directory for segments on their way to `target`: the same at every start, private to this user."""
    digest = hashlib.blake2b(target.encode(), digest_size=8).hexdigest()
    return Path(tempfile.gettempdir()) / f"meshwarden-spool-{os.getuid()}" / digest


class _OpenSegment(msgspec.Struct):
    path: Path
    fd: int
    opened: float
    size: int = 0
    lines: int = 0


class SegmentWriter:
    """Writes lines to segments under `target`, a directory or any fsspec URL; used by one thread.

    `key_id` is that of the Observer under whose hash key the calls were observed; each segment's name says it.
    `segment_bytes` and `segment_seconds` end a segment; `max_bytes` bounds the local directory, None: unbounded.
    `spool` is where segments wait for their upload when `target` is a URL, None: `default_spool`. Raises StoreError at once if
    the place can't be used; an unreachable object store is no such case, uploads to it are retried.
    """

    def __init__(
        self,
        target: str,
        key_id: str,
        *,
        instance: str | None = None,
        segment_bytes: int = SEGMENT_BYTES,
        segment_seconds: float = SEGMENT_SECONDS,
        max_bytes: int | None = MAX_BYTES,
        spool: str | Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.target = target
        self.key_id = key_id
        self.instance = instance or default_instance()
        uploader = Uploader(target) if is_url(target) else None
        self.directory = Path(spool or default_spool(target)) if uploader else Path(target)
        _prepare(self.directory, private=uploader is not None and spool is None)
        self._segment_bytes = segment_bytes
        self._segment_seconds = segment_seconds
        self._clock = clock
        self._open: dict[SegmentKind, _OpenSegment] = {}
        self._seq = 0
        self.removed_lines = 0
        """Lines lost because somebody deleted the open segment under us."""
        self.finisher = Finisher(self.directory, max_bytes, uploader)
        self.finisher.start()

    def write(self, kind: SegmentKind, data: bytes, lines: int) -> None:
        """Append `lines` whole lines; raises OSError, and then nothing of `data` is in the segment.

        One write: what it returned from survives the process. It is fsynced when the segment ends: a power cut may cost more.
        """
        segment = self._open.get(kind)
        if segment is not None and os.fstat(segment.fd).st_nlink == 0:
            self.removed_lines += segment.lines
            os.close(segment.fd)
            segment = None
        if segment is None:
            segment = self._open[kind] = self._new(kind)
        _append(segment, data)
        segment.size += len(data)
        segment.lines += lines
        if segment.size >= self._segment_bytes:
            self._finish(kind)

    def tick(self) -> None:
        """End the segments that are old enough; to be called about once a second, also when nothing is written."""
        now = self._clock()
        for kind in [kind for kind, segment in self._open.items() if now - segment.opened >= self._segment_seconds]:
            self._finish(kind)

    def close(self, timeout_seconds: float = 10.0) -> bool:
        """Finish and upload everything, within the timeout; tells whether all was done. The rest stays for the next start."""
        for kind in list(self._open):
            self._finish(kind)
        return self.finisher.close(timeout_seconds)

    def _new(self, kind: SegmentKind) -> _OpenSegment:
        self.directory.mkdir(parents=True, exist_ok=True)
        opened = self._clock()
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(opened))
        while True:
            self._seq += 1
            path = self.directory / to_file_name(SegmentName(kind, stamp, self.key_id, self.instance, self._seq, ""))
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            try:
                fd = os.open(path, flags, 0o640)
            except FileExistsError:
                continue
            if lock_segment(fd):
                return _OpenSegment(path, fd, opened)
            os.close(fd)  # another process took it for a dead writer's, in the instant before the lock

    def _finish(self, kind: SegmentKind) -> None:
        segment = self._open.pop(kind)
        self.finisher.add(ClosedSegment(segment.path, segment.fd, segment.lines))


def _append(segment: _OpenSegment, data: bytes) -> None:
    """Write all or nothing: a disk that is full takes part of a write, and that part must not tear the next line."""
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(segment.fd, view) :]
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(segment.fd, segment.size)
        raise


def _prepare(directory: Path, *, private: bool) -> None:
    """Make the directory and try to write to it; a private one (under /tmp) must be nobody else's."""
    try:
        if private:
            directory.parent.mkdir(mode=0o700, exist_ok=True)
            owner = directory.parent.lstat()
            if owner.st_uid != os.getuid() or directory.parent.is_symlink():
                raise StoreError(f"{cut(directory.parent)}: the spool belongs to somebody else; set another one")
        directory.mkdir(parents=True, exist_ok=True)
        probe = directory / f".probe-{secrets.token_hex(4)}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise StoreError(f"{cut(directory)}: expected a directory that can be written: {error.strerror or error}") from error
