import os
from pathlib import Path

import pytest

from authz_server.segment_name import SegmentKind, SegmentName, default_instance, lock_segment, parse_segment, to_file_name

KEY_ID = "0123456789abcdef"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            f"calls-20261121T204300-{KEY_ID}-web-0-a1-000007.jsonl",
            SegmentName(SegmentKind.CALLS, "20261121T204300", KEY_ID, "web-0-a1", 7, ""),
        ),
        (
            f"outcomes-20261121T204300-{KEY_ID}-w-1.jsonl.gz",
            SegmentName(SegmentKind.OUTCOMES, "20261121T204300", KEY_ID, "w", 1, ".gz"),
        ),
        (
            f"calls-20261121T204300-{KEY_ID}-w-1.jsonl.zst",
            SegmentName(SegmentKind.CALLS, "20261121T204300", KEY_ID, "w", 1, ".zst"),
        ),
        ("calls-20261121T204300-w-1.jsonl", SegmentName(SegmentKind.CALLS, "20261121T204300", "", "w", 1, "")),
        ("calls-20261121T204300-0123-w-1.jsonl", SegmentName(SegmentKind.CALLS, "20261121T204300", "", "0123-w", 1, "")),
        (f"calls-20261121T204300-{KEY_ID}-1.jsonl", SegmentName(SegmentKind.CALLS, "20261121T204300", "", KEY_ID, 1, "")),
        (".calls-20261121T204300-w-1.jsonl.gz.tmp", None),
        ("calls-20261121T204300-w-1.jsonl.gz.part", None),
        ("calls-2026-w-1.jsonl", None),
        ("events-20261121T204300-w-1.jsonl", None),
        ("README.md", None),
    ],
)
def test_parse_segment(name: str, expected: SegmentName | None) -> None:
    assert expected == parse_segment(name)


@pytest.mark.parametrize(
    ("key_id", "instance"), [("", "w"), ("", KEY_ID), (KEY_ID, "web-0-a1"), (KEY_ID, KEY_ID), (KEY_ID, f"{KEY_ID}-7")]
)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_name_is_read_back_as_it_was_written(key_id: str, instance: str, suffix: str) -> None:
    name = SegmentName(SegmentKind.CALLS, "20261121T204300", key_id, instance, 7, suffix)

    assert name == parse_segment(to_file_name(name))


def test_default_instance_differs_between_writers_and_fits_into_a_segment_name() -> None:
    one, other = default_instance(), default_instance()
    assert one != other
    for name in (f"calls-20261121T204300-{one}-000001.jsonl", f"calls-20261121T204300-{KEY_ID}-{one}-000001.jsonl"):
        parsed = parse_segment(name)
        assert parsed is not None
        assert one == parsed.instance


def test_lock_segment_refuses_one_that_a_live_writer_holds(tmp_path: Path) -> None:
    path = tmp_path / "segment"
    owner = os.open(path, os.O_RDWR | os.O_CREAT)
    other = os.open(path, os.O_RDWR)
    assert lock_segment(owner)
    assert not lock_segment(other)
    os.close(owner)
    assert lock_segment(other)
    os.close(other)


def test_lock_segment_refuses_one_that_was_deleted_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "segment"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    path.unlink()
    assert not lock_segment(descriptor)
    os.close(descriptor)
