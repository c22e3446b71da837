import gzip
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from authz_server.engine.errors import StoreError
from authz_server.segment_name import SegmentKind, parse_segment
from authz_server.segments import SegmentWriter, default_spool
from tests.factories import KEY_ID


def files(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def stored(directory: Path) -> list[bytes]:
    lines: list[bytes] = []
    for path in sorted(directory.iterdir()):
        data = path.read_bytes()
        lines += (gzip.decompress(data) if path.suffix == ".gz" else data).splitlines()
    return lines


def wait_until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """The nearest to a full disk that needs no privileges: writes beyond `size` are cut short, then fail."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_write_puts_whole_lines_into_a_plain_file_at_once(tmp_path: Path) -> None:
    writer = SegmentWriter(str(tmp_path), KEY_ID, instance="w", clock=Clock())
    writer.write(SegmentKind.CALLS, b'{"a":1}\n{"a":2}\n', 2)
    writer.write(SegmentKind.OUTCOMES, b'{"b":1}\n', 1)
    assert files(tmp_path) == [
        f"calls-20231114T221320-{KEY_ID}-w-000001.jsonl",
        f"outcomes-20231114T221320-{KEY_ID}-w-000002.jsonl",
    ]
    assert stored(tmp_path) == [b'{"a":1}', b'{"a":2}', b'{"b":1}']
    assert writer.close()


def test_close_finishes_every_segment(tmp_path: Path) -> None:
    writer = SegmentWriter(str(tmp_path), KEY_ID, instance="w", clock=Clock())
    writer.write(SegmentKind.CALLS, b"1\n", 1)
    assert writer.close()
    assert files(tmp_path) == [f"calls-20231114T221320-{KEY_ID}-w-000001.jsonl.gz"]
    assert stored(tmp_path) == [b"1"]


def test_segment_ends_when_it_is_large_enough(tmp_path: Path) -> None:
    writer = SegmentWriter(str(tmp_path), KEY_ID, instance="w", segment_bytes=4)
    for line in (b"1\n", b"2\n", b"3\n"):
        writer.write(SegmentKind.CALLS, line, 1)
    assert writer.close()
    assert stored(tmp_path) == [b"1", b"2", b"3"]
    assert len(files(tmp_path)) == 2


def test_segment_ends_when_it_is_old_enough(tmp_path: Path) -> None:
    clock = Clock()
    writer = SegmentWriter(str(tmp_path), KEY_ID, instance="w", segment_seconds=60, clock=clock)
    writer.write(SegmentKind.CALLS, b"1\n", 1)
    clock.now += 59
    writer.tick()
    assert [path.suffix for path in tmp_path.iterdir()] == [".jsonl"]
    clock.now += 1
    writer.tick()
    wait_until(lambda: [path.suffix for path in tmp_path.iterdir()] == [".gz"])
    assert writer.close()


def test_nothing_written_leaves_no_file(tmp_path: Path) -> None:
    assert SegmentWriter(str(tmp_path), KEY_ID).close()
    assert files(tmp_path) == []


def test_write_on_a_full_disk_leaves_no_part_of_a_line(tmp_path: Path) -> None:
    writer = SegmentWriter(str(tmp_path), KEY_ID)
    writer.write(SegmentKind.CALLS, b"1" * 99 + b"\n", 1)
    with file_size_limit(150), pytest.raises(OSError, match="File too large"):
        writer.write(SegmentKind.CALLS, b"2" * 99 + b"\n", 1)
    writer.write(SegmentKind.CALLS, b"3\n", 1)
    assert writer.close()
    assert stored(tmp_path) == [b"1" * 99, b"3"]


def test_oldest_finished_segments_go_when_the_directory_is_over_its_bound(tmp_path: Path) -> None:
    writer = SegmentWriter(str(tmp_path), KEY_ID, instance="w", segment_bytes=1, max_bytes=60)
    for number in range(10):
        writer.write(SegmentKind.CALLS, b"%d\n%d\n" % (number, number), 2)
    assert writer.close()
    assert stored(tmp_path) == [b"8", b"8", b"9", b"9"]
    assert writer.finisher.lost_lines == 16


def test_segment_that_somebody_deletes_is_counted_and_a_new_one_begun(tmp_path: Path) -> None:
    writer = SegmentWriter(str(tmp_path / "store"), KEY_ID, instance="w")
    writer.write(SegmentKind.CALLS, b"1\n2\n", 2)
    for path in (tmp_path / "store").iterdir():
        path.unlink()
    (tmp_path / "store").rmdir()
    writer.write(SegmentKind.CALLS, b"3\n", 1)
    assert writer.close()
    assert stored(tmp_path / "store") == [b"3"]
    assert writer.removed_lines == 2


def test_two_writers_share_a_directory_and_leave_each_other_alone(tmp_path: Path) -> None:
    one = SegmentWriter(str(tmp_path), KEY_ID, instance="one")
    one.write(SegmentKind.CALLS, b"1\n", 1)
    other = SegmentWriter(str(tmp_path), KEY_ID, instance="other")
    other.write(SegmentKind.CALLS, b"2\n", 1)
    assert other.close()
    one.write(SegmentKind.CALLS, b"3\n", 1)
    assert one.close()
    assert stored(tmp_path) == [b"1", b"3", b"2"]


_DYING = """
import os, signal, sys
from authz_server.segment_name import SegmentKind
from authz_server.segments import SegmentWriter
SegmentWriter(sys.argv[1], "0123456789abcdef", instance="dead").write(SegmentKind.CALLS, b"1\\n2\\ntorn", 3)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_segments_of_a_killed_writer_are_finished_at_the_next_start(tmp_path: Path) -> None:
    assert subprocess.run([sys.executable, "-c", _DYING, str(tmp_path)], check=False).returncode == -9
    assert [path.suffix for path in tmp_path.iterdir()] == [".jsonl"]
    assert SegmentWriter(str(tmp_path), KEY_ID).close()
    assert [path.suffix for path in tmp_path.iterdir()] == [".gz"]
    assert stored(tmp_path) == [b"1", b"2"]


def test_writer_that_died_between_rename_and_delete_leaves_each_line_once(tmp_path: Path) -> None:
    plain = tmp_path / "calls-20231114T221320-w-000001.jsonl"
    plain.write_bytes(b"1\n")
    plain.with_name(plain.name + ".gz").write_bytes(gzip.compress(b"1\n"))
    assert SegmentWriter(str(tmp_path), KEY_ID).close()
    assert stored(tmp_path) == [b"1"]


def test_place_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="expected a directory that can be written"):
        SegmentWriter(str(tmp_path / "file"), KEY_ID)


def test_url_of_an_unknown_protocol_is_refused_at_once() -> None:
    with pytest.raises(StoreError, match="a URL that fsspec can open"):
        SegmentWriter("nosuch://bucket/calls", KEY_ID)


def test_default_spool_is_the_same_at_every_start_and_differs_by_target() -> None:
    assert default_spool("s3://a/b") == default_spool("s3://a/b")
    assert default_spool("s3://a/b") != default_spool("s3://a/c")


def test_names_sort_by_time_within_a_writer(tmp_path: Path) -> None:
    clock = Clock()
    writer = SegmentWriter(str(tmp_path), KEY_ID, instance="w", segment_bytes=1, clock=clock)
    for number in range(12):
        clock.now += number % 2
        writer.write(SegmentKind.CALLS, b"%d\n" % number, 1)
    assert writer.close()
    names = [parse_segment(name) for name in files(tmp_path)]
    assert list(range(1, 13)) == [name.seq for name in names if name is not None]
