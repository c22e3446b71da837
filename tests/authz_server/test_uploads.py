import gzip
import logging
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest

from authz_server.engine.errors import StoreError
from authz_server.segment_name import SegmentKind
from authz_server.segments import SegmentWriter
from authz_server.uploads import Uploader, is_url
from tests.factories import KEY_ID


@pytest.fixture
def bucket() -> Iterator[str]:
    url = f"memory://{uuid.uuid4().hex}/calls"
    yield url
    fsspec.filesystem("memory").store.clear()


def uploaded(url: str) -> list[bytes]:
    filesystem, path = fsspec.core.url_to_fs(url)
    names = sorted(filesystem.find(path))
    return [line for name in names for line in gzip.decompress(filesystem.cat_file(name)).splitlines()]


def wait_until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("place", "expected"), [("s3://bucket/x", True), ("memory://x", True), ("/var/lib/calls", False), ("calls", False)]
)
def test_is_url(place: str, expected: bool) -> None:
    assert expected == is_url(place)


def test_finished_segments_are_uploaded_and_the_spool_is_empty_then(bucket: str, tmp_path: Path) -> None:
    writer = SegmentWriter(bucket, KEY_ID, spool=tmp_path, segment_bytes=1)
    writer.write(SegmentKind.CALLS, b"1\n", 1)
    wait_until(lambda: writer.finisher.uploaded == 1)
    writer.write(SegmentKind.CALLS, b"2\n", 1)
    assert writer.close()
    assert uploaded(bucket) == [b"1", b"2"]
    assert list(tmp_path.iterdir()) == []
    assert writer.finisher.uploaded == 2


def test_what_a_previous_process_left_in_the_spool_is_uploaded(bucket: str, tmp_path: Path) -> None:
    (tmp_path / "calls-20231114T221320-dead-000001.jsonl.gz").write_bytes(gzip.compress(b"1\n"))
    (tmp_path / "calls-20231114T221321-dead-000002.jsonl").write_bytes(b"2\ntorn")
    assert SegmentWriter(bucket, KEY_ID, spool=tmp_path).close()
    assert uploaded(bucket) == [b"1", b"2"]
    assert list(tmp_path.iterdir()) == []


def test_failed_uploads_are_counted_told_once_kept_and_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    blocked = tmp_path / "bucket"
    blocked.write_bytes(b"a file where a directory is needed")
    spool = tmp_path / "spool"
    writer = SegmentWriter(f"file://{blocked}/calls", KEY_ID, spool=spool, segment_bytes=1)
    writer.write(SegmentKind.CALLS, b"1\n", 1)
    wait_until(lambda: writer.finisher.upload_failures >= 2)
    assert len(list(spool.iterdir())) == 1
    blocked.unlink()
    wait_until(lambda: writer.finisher.uploaded == 1)
    assert writer.close()
    assert uploaded(f"file://{blocked}/calls") == [b"1"]
    assert [r.getMessage() for r in caplog.records if "upload" in r.getMessage()] == ["upload_failed", "upload_recovered"]


def test_close_with_the_store_away_is_bounded_and_keeps_what_is_left(tmp_path: Path) -> None:
    blocked = tmp_path / "bucket"
    blocked.write_bytes(b"")
    writer = SegmentWriter(f"file://{blocked}/calls", KEY_ID, spool=tmp_path / "spool")
    writer.write(SegmentKind.CALLS, b"1\n", 1)
    started = time.monotonic()
    assert not writer.close(timeout_seconds=5)
    assert time.monotonic() - started < 5
    assert [path.suffix for path in (tmp_path / "spool").iterdir()] == [".gz"]


def test_credentials_in_a_url_are_not_told(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    with pytest.raises(StoreError) as told:
        Uploader("nosuch://user:secret@host/calls")
    assert "secret" not in str(told.value).partition(": expected")[0]
