from pathlib import Path

import pytest

from authz_server.engine.errors import StoreError
from tests.authz_server.test_segments import file_size_limit
from tests.factories import KEY_ID, outcome_record, record
from trainer.store import read_calls
from trainer.store_writer import StoreWriter


def test_records_are_readable_after_flush(tmp_path: Path) -> None:
    with StoreWriter(str(tmp_path), KEY_ID) as writer:
        writer.put(record())
        assert [] == list(read_calls(str(tmp_path)))
        writer.flush()
        assert [record()] == list(read_calls(str(tmp_path)))
        assert 1 == writer.written


def test_records_put_before_an_exception_are_kept(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), StoreWriter(str(tmp_path), KEY_ID) as writer:  # noqa: PT012
        writer.put(record())
        writer.put(outcome_record())
        raise ZeroDivisionError
    assert [200] == [call.status for call in read_calls(str(tmp_path))]


def test_full_disk_is_an_error(tmp_path: Path) -> None:
    with file_size_limit(10), pytest.raises(StoreError, match="can't be written"), StoreWriter(str(tmp_path), KEY_ID) as writer:
        writer.put(record())


def test_upload_that_fails_is_an_error_that_says_where_the_rest_is(tmp_path: Path) -> None:
    (tmp_path / "bucket").write_bytes(b"")
    writer = StoreWriter(f"file://{tmp_path}/bucket/calls", KEY_ID, spool=str(tmp_path / "spool"))
    writer.put(record())
    with pytest.raises(StoreError, match=r"the rest is in .*spool"):
        writer.close(timeout_seconds=5)
