import gzip
import io
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from authz_server.engine.errors import FormatError, StoreError
from trainer.lines import MAX_LINE, iter_lines, open_input, read_blocks


class Dribble:
    """Gives its bytes in pieces of the given sizes."""

    def __init__(self, data: bytes, piece: int) -> None:
        self._data = io.BytesIO(data)
        self._piece = piece

    def read(self, size: int, /) -> bytes:
        return self._data.read(min(size, self._piece))


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_file_is_read_by_its_ending(tmp_path: Path, suffix: str) -> None:
    data = b"one\n\ntwo\r\nthree"
    packed = {"": data, ".gz": gzip.compress(data), ".zst": zstandard.ZstdCompressor().compress(data)}
    path = tmp_path / f"lines{suffix}"
    path.write_bytes(packed[suffix])
    with open_input(str(path)) as (_, stream):
        assert [(1, b"one"), (3, b"two\r"), (4, b"three")] == list(iter_lines(stream, "lines"))


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="expected a file to read"), open_input(str(tmp_path / "none")):
        pass


def test_endless_line_is_an_error() -> None:
    with pytest.raises(FormatError, match="expected lines of at most"):
        list(iter_lines(Dribble(b"x" * (MAX_LINE + 1), 1 << 20), "name"))


def test_truncated_gzip_is_an_error_after_what_came_before() -> None:
    packed = gzip.compress(b"".join(b"%d %x\n" % (n, n * 7919 % 65536) for n in range(50_000)))
    stream = gzip.GzipFile(fileobj=io.BytesIO(packed[:-2000]))
    lines = iter_lines(stream, "name.gz")
    assert 1 == next(lines)[0]
    with pytest.raises(FormatError, match=r"name\.gz: damaged or unreadable"):
        list(lines)


@given(st.lists(st.binary(max_size=9).map(lambda data: data.replace(b"\n", b"")), max_size=20), st.integers(1, 7), st.booleans())
def test_blocks_are_whole_lines_however_they_arrive(lines: list[bytes], piece: int, ended: bool) -> None:
    data = b"\n".join(lines) + (b"\n" if ended else b"")
    blocks = list(read_blocks(Dribble(data, piece), "name"))
    assert data == b"".join(blocks)
    assert all(block.endswith(b"\n") for block in blocks[:-1])
