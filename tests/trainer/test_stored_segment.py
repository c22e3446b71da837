import gzip
from pathlib import Path

import pytest

from authz_server.engine.errors import StoreError
from trainer.stored_segment import list_segments

NAME = "calls-20231114T221320-w-000001.jsonl"


def test_only_segments_are_listed(tmp_path: Path) -> None:
    for name in (NAME, "notes.txt", f".{NAME}.gz.tmp", f"{NAME}.gz.part"):
        (tmp_path / name).write_bytes(b"")
    assert [NAME] == [Path(segment.path).name for segment in list_segments(str(tmp_path))]


def test_segment_finished_after_it_was_listed_is_read_finished(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"1\n")
    (segment,) = list_segments(str(tmp_path))
    (tmp_path / NAME).unlink()
    (tmp_path / (NAME + ".gz")).write_bytes(gzip.compress(b"1\n"))
    with segment.open() as stream:
        assert b"1\n" == stream.read(100)


def test_segment_deleted_after_it_was_listed_is_an_error(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"1\n")
    (segment,) = list_segments(str(tmp_path))
    (tmp_path / NAME).unlink()
    with pytest.raises(StoreError, match="gone before it was read"), segment.open():
        pass


def test_url_that_cannot_be_opened_is_an_error() -> None:
    with pytest.raises(StoreError):
        list_segments("nosuch://bucket")
