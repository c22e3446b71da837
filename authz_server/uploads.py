"""Finished segments to object storage: any URL that fsspec knows. What is not yet there stays on the disk.

fsspec is imported when a URL is used, not before: a server that records to a directory doesn't pay for it.
"""

import contextlib
import logging
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from authz_server.engine.errors import StoreError, cut

__all__ = ["Uploader", "is_url", "open_filesystem"]

_ATOMIC: Final = frozenset({"memory", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oci", "oss", "obs", "r2"})
"""Stores where an object appears whole or not at all; elsewhere a file is written under another name and renamed."""
_CREDENTIALS = re.compile(r"://[^/@]*@")
_FIRST_WAIT: Final = 1.0
_LONGEST_WAIT: Final = 60.0

_log = logging.getLogger(__name__)


def is_url(place: str) -> bool:
    """Tell a URL from a directory's path."""
    return "://" in place


def open_filesystem(url: str) -> tuple[Any, str]:
    """Open an fsspec URL as file system and path in it; raises StoreError for a protocol that isn't known or installed."""
    try:
        import fsspec.core  # lazily: see above

        filesystem, path = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        raise StoreError(
            f"{cut(_CREDENTIALS.sub('://', url))}: expected a directory or a URL that fsspec can open: {error}"
        ) from error
    return filesystem, str(path).rstrip("/")


class Uploader:
    """Uploads segments to `url` and deletes them here, with exponential back-off while that fails; used by one thread."""

    def __init__(self, url: str) -> None:
        self.shown = cut(_CREDENTIALS.sub("://", url))
        self.uploaded = 0
        self.failures = 0
        self._filesystem, self._path = open_filesystem(url)
        protocol = self._filesystem.protocol
        protocols = {protocol} if isinstance(protocol, str) else set(protocol)
        self._atomic = not protocols.isdisjoint(_ATOMIC)
        self._made = self._atomic
        self._wait = _FIRST_WAIT
        self._retry_at = 0.0
        self._refused: set[str] = set()
        """Segments whose last upload failed: they go last, so that one bad file doesn't hold up the others."""

    def upload(self, segments: Sequence[Path], *, now_or_never: bool = False) -> bool:
        """Upload what can be; tells whether nothing is left. `now_or_never` ignores the back-off. Never raises."""
        if not segments:
            return True
        if not now_or_never and time.monotonic() < self._retry_at:
            return False
        for segment in sorted(segments, key=lambda path: (path.name in self._refused, path.name)):
            try:
                self._put(segment)
            except Exception as error:  # backends raise what they like, botocore's and aiohttp's own trees among it
                if not segment.exists():
                    continue  # another process that shares the spool uploaded it, or it was trimmed
                self._fail(segment, error)
                return False
            self._refused.discard(segment.name)
            self.uploaded += 1
            if self._retry_at:
                _log.info("upload_recovered", extra={"fields": {"url": self.shown}})
                self._retry_at, self._wait = 0.0, _FIRST_WAIT
        return True

    def _put(self, segment: Path) -> None:
        if not self._made:
            self._filesystem.makedirs(self._path, exist_ok=True)
            self._made = True
        target = f"{self._path}/{segment.name}"
        arriving = target if self._atomic else target + ".part"
        self._filesystem.put_file(str(segment), arriving)
        if not self._atomic:
            self._filesystem.mv(arriving, target)
        size = segment.stat().st_size
        if self._filesystem.size(target) != size:
            raise OSError(f"{target}: expected {size} bytes after the upload")
        with contextlib.suppress(FileNotFoundError):
            segment.unlink()

    def _fail(self, segment: Path, error: Exception) -> None:
        self.failures += 1
        self._refused.add(segment.name)
        if not self._retry_at:
            fields = {"url": self.shown, "segment": segment.name, "error": cut(f"{type(error).__name__}: {error}")}
            _log.warning("upload_failed", extra={"fields": fields})
        self._retry_at = time.monotonic() + self._wait
        self._wait = min(2 * self._wait, _LONGEST_WAIT)
