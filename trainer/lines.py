"""From a file or stream, compressed or not, to whole lines of bounded length; for the store and every line-wise importer."""

import gzip
import io
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, BinaryIO, Final, Protocol

from authz_server.engine.errors import FormatError, StoreError, cut
from authz_server.uploads import is_url, open_filesystem

__all__ = ["MAX_LINE", "Readable", "decompress", "iter_lines", "open_input", "read_blocks", "read_chunk"]

MAX_LINE: Final = 8 << 20
"""Bytes of a line; Envoy's own bound for a buffered body is 1 MiB by default."""
_CHUNK: Final = 1 << 18


class Readable(Protocol):
    """What is read: `read` gives some bytes, none at the end."""

    def read(self, size: int, /) -> bytes:
        """Give up to `size` bytes, fewer or more as it suits, none at the end only."""


class _Eager:
    """A buffered reader that gives what is there: what precedes the damaged part of an archive isn't lost."""

    def __init__(self, buffered: io.BufferedIOBase) -> None:
        self._read = buffered.read1

    def read(self, size: int, /) -> bytes:
        return self._read(size)


def decompress(file: Any, name: str) -> Readable:
    """Read `.gz` and `.zst` through their decompressor, by the name's ending; anything else as it is."""
    if name.endswith(".gz"):
        return _Eager(gzip.GzipFile(fileobj=file, mode="rb"))
    if name.endswith(".zst"):
        import zstandard  # only where there is such a file

        stream: Readable = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
        return stream
    readable: Readable = file
    return readable


def open_input(path: str) -> AbstractContextManager[tuple[BinaryIO, Readable]]:
    """Open a file, an fsspec URL or `-` (stdin): the bytes as stored (whose `tell` is the progress), and decompressed.

    Raises StoreError when it can't be opened. Stdin may be gzip too: its first bytes tell.
    """
    return _open_stdin() if path == "-" else _open_file(path)


@contextmanager
def _open_stdin() -> Iterator[tuple[BinaryIO, Readable]]:
    buffered = sys.stdin.buffer
    start = buffered.peek(4)[:4] if isinstance(buffered, io.BufferedReader) else b""
    name = "-.gz" if start[:2] == b"\x1f\x8b" else "-.zst" if start == b"\x28\xb5\x2f\xfd" else "-"
    yield buffered, decompress(buffered, name)


@contextmanager
def _open_file(path: str) -> Iterator[tuple[BinaryIO, Readable]]:
    try:
        if is_url(path):
            filesystem, inside = open_filesystem(path)
            file: BinaryIO = filesystem.open(inside, "rb")
        else:
            file = open(path, "rb")  # noqa: PTH123, SIM115  # closed below
    except OSError as error:
        raise StoreError(f"{cut(path)}: expected a file to read: {error.strerror or error}") from error
    with file:
        yield file, decompress(file, path)


def read_chunk(stream: Readable, name: str) -> bytes:
    """Read some bytes, none at the end only; raises FormatError for damaged compression."""
    try:
        return stream.read(_CHUNK)
    except Exception as error:  # gzip, zlib, zstandard and the object stores each raise their own
        raise FormatError(f"{name}: damaged or unreadable: {cut(f'{type(error).__name__}: {error}')}") from error


def read_blocks(stream: Readable, name: str) -> Iterator[bytes]:
    """Read blocks of whole lines, newline included; only the very last may lack it, and is then a block of its own.

    Raises FormatError for a line over MAX_LINE and for damaged compression, after what came before.
    """
    rest = b""
    while True:
        chunk = read_chunk(stream, name)
        if not chunk:
            break
        end = chunk.rfind(b"\n") + 1
        if end:
            yield rest + chunk[:end]
            rest = chunk[end:]
        else:
            rest += chunk
        if len(rest) > MAX_LINE:
            raise FormatError(f"{name}: expected lines of at most {MAX_LINE} bytes")
    if rest:
        yield rest


def iter_lines(stream: Readable, name: str) -> Iterator[tuple[int, bytes]]:
    """Read lines with their numbers from 1, without newline; blank ones are passed over."""
    number = 0
    for block in read_blocks(stream, name):
        for line in block.removesuffix(b"\n").split(b"\n"):
            number += 1
            if line and not line.isspace():
                yield number, line
