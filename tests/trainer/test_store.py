import gzip
import tempfile
from collections.abc import Iterable
from pathlib import Path

import fsspec
import msgspec
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from authz_server.engine.errors import StoreError
from authz_server.engine.record import CallRecord, OutcomeRecord, encode_record
from tests.factories import KEY_ID, outcome_record, parameter, record
from trainer.store import Reading, read_calls, scan
from trainer.store_writer import StoreWriter

T0 = 1_700_000_000.0


def write_store(store: Path | str, *records: CallRecord | OutcomeRecord) -> None:
    with StoreWriter(str(store), KEY_ID) as writer:
        for each in records:
            writer.put(each)


def put_segment(directory: Path, name: str, records: Iterable[CallRecord | OutcomeRecord]) -> Path:
    path = directory / name
    path.write_bytes(b"".join([encode_record(each) + b"\n" for each in records]))
    return path


def ids(store: Path | str | list[str]) -> list[str]:
    return [call.id for call in read_calls(str(store) if isinstance(store, Path) else store)]


def test_calls_of_several_writers_come_in_time_order(tmp_path: Path) -> None:
    write_store(tmp_path, *[record(id=f"a{n}", ts=T0 + n) for n in (0, 2, 4)])
    write_store(tmp_path, *[record(id=f"b{n}", ts=T0 + n) for n in (1, 3)])
    assert ["a0", "b1", "a2", "b3", "a4"] == ids(tmp_path)


def test_several_stores_are_read_as_one(tmp_path: Path) -> None:
    write_store(tmp_path / "one", record(id="late", ts=T0 + 1))
    write_store(tmp_path / "two", record(id="early", ts=T0))
    assert ["early", "late"] == ids([str(tmp_path / "one"), str(tmp_path / "two")])


def test_sub_folders_belong_to_the_store(tmp_path: Path) -> None:
    write_store(tmp_path / "pod-1", record(id="1", ts=T0))
    write_store(tmp_path / "pod-2", record(id="2", ts=T0 + 1))
    assert ["1", "2"] == ids(tmp_path)


def test_more_writers_than_are_opened_at_once_come_in_time_order(tmp_path: Path) -> None:
    for n in range(20):
        put_segment(tmp_path, f"calls-20231114T221320-w{n}-000001.jsonl", [record(id=f"{n}", ts=T0 + n), record(ts=T0 + n + 0.5)])
    reading = Reading()
    times = [call.ts for call in read_calls(str(tmp_path), reading=reading)]
    assert [T0 + n / 2 for n in range(40)] == times
    assert 40 == reading.calls


def test_segments_of_one_writer_keep_their_order(tmp_path: Path) -> None:
    put_segment(tmp_path, "calls-20231114T221321-w-000002.jsonl", [record(id="3", ts=T0)])
    put_segment(tmp_path, "calls-20231114T221320-w-000001.jsonl", [record(id="1", ts=T0 + 9), record(id="2", ts=T0 + 5)])
    assert ["1", "2", "3"] == ids(tmp_path)


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_plain_and_compressed_segments_are_read(tmp_path: Path, suffix: str) -> None:
    plain = put_segment(tmp_path, "calls-20231114T221320-w-000001.jsonl", [record()])
    if suffix:
        compress = gzip.compress if suffix == ".gz" else zstandard.ZstdCompressor().compress
        plain.with_name(plain.name + suffix).write_bytes(compress(plain.read_bytes()))
        plain.unlink()
    assert [record()] == list(read_calls(str(tmp_path)))


def test_segment_that_is_there_plain_and_finished_counts_once(tmp_path: Path) -> None:
    plain = put_segment(tmp_path, "calls-20231114T221320-w-000001.jsonl", [record()])
    plain.with_name(plain.name + ".gz").write_bytes(gzip.compress(plain.read_bytes()))
    assert ["d-1"] == ids(tmp_path)


def test_url_is_read_like_a_directory() -> None:
    write_store("memory://test-store/calls", record(), outcome_record())
    (call,) = read_calls("memory://test-store/calls")
    assert 200 == call.status
    fsspec.filesystem("memory").store.clear()


def test_calls_under_one_key_are_read_with_their_outcomes_and_under_any_where_none_is_asked_for(tmp_path: Path) -> None:
    for key_id, status in (("a" * 16, 201), ("b" * 16, 202)):
        with StoreWriter(str(tmp_path), key_id) as writer:
            writer.put(record(id=key_id[0], ts=T0 + status))
            writer.put(outcome_record(id=key_id[0], ts=T0 + status, status=status))

    def read(key_id: str | None) -> list[tuple[str, int | None]]:
        return [(call.id, call.status) for call in read_calls(str(tmp_path), key_id=key_id)]

    assert [("a", 201)] == read("a" * 16)
    assert [("b", 202)] == read("b" * 16)
    assert [("a", 201), ("b", 202)] == read(None)


def test_a_store_without_calls_under_the_key_is_an_error_before_anything_is_read(tmp_path: Path) -> None:
    write_store(tmp_path, record())
    with pytest.raises(StoreError, match=f"key id {KEY_ID}"):
        read_calls(str(tmp_path), key_id="a" * 16)


def test_place_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="expected a directory of recorded calls"):
        read_calls(str(tmp_path / "nowhere"))


def test_outcome_joins_by_decision_id(tmp_path: Path) -> None:
    write_store(tmp_path, record(id="d-1"), record(id="d-2"), outcome_record(id="d-2", status=503, resp_size=9, duration_ms=1.5))
    reading = Reading()
    first, second = read_calls(str(tmp_path), reading=reading)
    assert (None, None, None) == (first.status, first.resp_size, first.duration_ms)
    assert (503, 9, 1.5) == (second.status, second.resp_size, second.duration_ms)
    assert (2, 1, 1) == (reading.calls, reading.outcomes, reading.joined)


def test_outcome_without_id_joins_by_request_workload_and_method(tmp_path: Path) -> None:
    same = {"request_id": "r", "workload": "shop/cart", "method": "GET"}
    write_store(
        tmp_path,
        record(id="1", **same),
        record(id="2", **same),
        record(id="3", **same | {"method": "POST"}),
        *[outcome_record(id="", status=status, **same) for status in (201, 404)],
    )
    assert [201, 404, None] == [call.status for call in read_calls(str(tmp_path))]


def test_imported_status_is_not_joined_over(tmp_path: Path) -> None:
    write_store(tmp_path, record(status=418), outcome_record(status=200))
    assert [418] == [call.status for call in read_calls(str(tmp_path))]


class Glance(msgspec.Struct, frozen=True):
    id: str
    ts: float
    status: int | None = None


def test_scan_decodes_what_is_asked_for_and_joins_it(tmp_path: Path) -> None:
    write_store(tmp_path, record(), outcome_record(status=404))
    assert [Glance("d-1", record().ts, 404)] == list(scan(str(tmp_path), Glance))


def test_scan_needs_id_and_time(tmp_path: Path) -> None:
    class Nothing(msgspec.Struct):
        ts: float

    with pytest.raises(TypeError, match="needs the fields id and ts"):
        scan(str(tmp_path), Nothing)


def test_torn_last_line_is_passed_over(tmp_path: Path) -> None:
    path = put_segment(tmp_path, "calls-20231114T221320-w-000001.jsonl", [record(id="1"), record(id="2")])
    path.write_bytes(path.read_bytes()[:-10])
    reading = Reading()
    assert ["1"] == [call.id for call in read_calls(str(tmp_path), reading=reading)]
    assert (1, 0) == (reading.torn, reading.corrupt)


def test_corrupt_line_is_counted_told_and_not_fatal(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = put_segment(tmp_path, "calls-20231114T221320-w-000001.jsonl", [record(id="1"), record(id="2"), record(id="3")])
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b'{"id": 7}\n' + b"\xff\xfe\n" + lines[2])
    reading = Reading()
    assert ["1", "3"] == [call.id for call in read_calls(str(tmp_path), reading=reading)]
    assert 2 == reading.corrupt
    assert "Expected `str`, got `int`" in reading.problems[0]
    assert path.name in reading.problems[0]
    (told,) = caplog.records
    assert ("store_damaged", {"unread": 2, "problems": reading.problems}) == (told.message, vars(told)["fields"])


def test_damaged_segment_gives_what_precedes_the_damage(tmp_path: Path) -> None:
    records = [record(id=f"{n}", request_id=f"{n * 7919:x}") for n in range(2000)]
    plain = put_segment(tmp_path, "calls-20231114T221320-w-000001.jsonl", records)
    whole = gzip.compress(plain.read_bytes())
    plain.unlink()
    plain.with_name(plain.name + ".gz").write_bytes(whole[: len(whole) // 2])
    put_segment(tmp_path, "calls-20231114T221321-w-000002.jsonl", [record(id="next")])
    reading = Reading()
    read = [call.id for call in read_calls(str(tmp_path), reading=reading)]
    assert "next" == read[-1]
    assert [f"{n}" for n in range(len(read) - 1)] == read[:-1]
    assert len(read) > 100
    assert "damaged" in reading.problems[0]


text = st.text(max_size=20)
records = st.builds(
    record,
    id=text,
    ts=st.floats(0, 2e9),
    path=text,
    parameters=st.lists(st.builds(parameter, key=text, text=text, number=st.none() | st.floats(-1e6, 1e6)), max_size=3).map(
        tuple
    ),
    status=st.integers(0, 999),
    label=st.none() | st.integers(0, 1),
    attack=st.none() | text,
)


@settings(max_examples=30)
@given(st.lists(records, max_size=5))
def test_write_then_read_is_identity(written: list[CallRecord]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        write_store(directory, *written)
        assert written == list(read_calls(directory))
