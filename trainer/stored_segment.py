"""Which segments a store holds, and how one is opened: directories and fsspec URLs look alike from here on."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from authz_server.engine.errors import StoreError, cut
from authz_server.segment_name import SegmentName, parse_segment
from authz_server.uploads import is_url, open_filesystem
from trainer.lines import Readable, decompress

__all__ = ["StoredSegment", "list_segments"]


class StoredSegment(msgspec.Struct, frozen=True):
    """One segment. `folder` and `name.instance` name its writer; `filesystem` None: the local one."""

    folder: str
    path: str
    name: SegmentName
    size: int
    filesystem: Any = None

    @contextmanager
    def open(self) -> Iterator[Readable]:
        """Open it, decompressed; raises StoreError when it is gone, unless it was only finished meanwhile."""
        try:
            path, file = self._open(self.path)
        except FileNotFoundError:
            try:
                path, file = self._open(self.path + ".gz")
            except OSError as error:
                raise StoreError(f"{cut(self.path)}: gone before it was read") from error
        except OSError as error:
            raise StoreError(f"{cut(self.path)}: {error}") from error
        with file:
            yield decompress(file, path)

    def _open(self, path: str) -> tuple[str, Any]:
        return path, self.filesystem.open(path, "rb") if self.filesystem else Path(path).open("rb")


def list_segments(store: str | Sequence[str]) -> list[StoredSegment]:
    """List the segments of one or several places, with all their sub-folders; raises StoreError for a place that isn't there.

    A segment that is there both plain and finished (its writer died in between) counts once, finished.
    """
    segments: list[StoredSegment] = []
    for place in [store] if isinstance(store, str) else store:
        found = list(_list_url(place) if is_url(place) else _list_directory(place))
        finished = {s.path.removesuffix(".gz") for s in found if s.name.suffix}
        segments += [s for s in found if s.name.suffix or s.path not in finished]
    return segments


def _list_directory(place: str) -> Iterator[StoredSegment]:
    if not Path(place).is_dir():
        raise StoreError(f"{cut(place)}: expected a directory of recorded calls")
    for folder, _, files in os.walk(place):
        for file in files:
            name = parse_segment(file)
            if name is not None:
                path = Path(folder, file)
                try:
                    size = path.stat().st_size
                except FileNotFoundError:
                    size = 0  # finished or trimmed this instant
                yield StoredSegment(folder, str(path), name, size)


def _list_url(place: str) -> Iterator[StoredSegment]:
    filesystem, root = open_filesystem(place)
    try:
        found = filesystem.find(root, detail=True)
    except Exception as error:  # backends raise what they like
        raise StoreError(f"{cut(place)}: can't be listed: {cut(f'{type(error).__name__}: {error}')}") from error
    for path, info in found.items():
        folder, _, file = path.rpartition("/")
        name = parse_segment(file)
        if name is not None:
            yield StoredSegment(folder, path, name, int(info.get("size") or 0), filesystem)
