"""Calls on their way into batches."""

import tempfile
from pathlib import Path

import pytest

from authz_server.engine.errors import StoreError
from authz_server.engine.record import CallRecord
from tests.factories_engine import NOON, record
from trainer import spool
from trainer.partial_record import to_stored
from trainer.spool import Spool


def made(number: int, workload: str = "shop/cart", **changes: object) -> CallRecord:
    return record("GET", f"/items/{number}?q={number}", ts=NOON + number, record_id=f"d-{number}", workload=workload, **changes)


def spooled(records: list[CallRecord], told: list[int] | None = None) -> dict[str, list[str]]:
    with Spool() as one:
        one.fill(to_stored(records), told.append if told is not None else lambda _: None)
        assert {batches.workload: sum(map(len, batches)) for batches in one.workloads()} == {
            batches.workload: batches.calls for batches in one.workloads()
        }
        return {batches.workload: [name for batch in batches for name in batch.ids] for batches in one.workloads()}


def ids(*numbers: int) -> list[str]:
    return [f"d-{number}" for number in numbers]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "_BATCH", 3)
    monkeypatch.setattr(spool, "_HELD", 5)


@pytest.mark.parametrize("step", [1, 2, 7, 512])
@pytest.mark.parametrize("in_memory", [1, 1 << 20])
def test_each_workload_gets_its_calls_in_order(in_memory: int, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "_IN_MEMORY", in_memory)
    monkeypatch.setattr(spool, "_STEP", step)
    calls = [made(number, f"w{number % 4 if number % 3 else 9}") for number in range(40)]
    expected = {name: [one.id for one in calls if one.workload == name] for name in sorted({one.workload for one in calls})}
    assert expected == spooled(calls)


def test_attacks_test_splits_and_denied_calls_are_left_out() -> None:
    calls = [made(0), made(1, label=1), made(2, split="test"), made(3, verdict="deny"), made(4, label=0, split="train")]
    assert {"shop/cart": ids(0, 4)} == spooled(calls)


@pytest.mark.parametrize("step", [1, 3, 512])
def test_no_more_calls_wait_than_are_held(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "_STEP", step)
    told: list[int] = []
    spooled([made(number, f"w{number}") for number in range(20)], told)
    assert [1, *range(2, 17), 20] == told


@pytest.mark.parametrize("step", [1, 3, 512])
def test_a_batch_is_full_before_the_next_begins(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "_STEP", step)
    monkeypatch.setattr(spool, "_HELD", 100)
    with Spool() as one:
        one.fill(to_stored([made(number, "w" if number % 3 else "v") for number in range(10)]))
        assert {"v": [3, 1], "w": [3, 3]} == {batches.workload: list(map(len, batches)) for batches in one.workloads()}


def test_what_happened_everywhere_is_one_trail_in_time_order() -> None:
    calls = [made(0), made(1, "w", request_id=""), made(2, "w", verdict="deny"), made(3, split="test"), made(4, status=None)]
    with Spool() as one:
        one.fill(to_stored(calls))
        found = [
            (ts - NOON, trail.targets[target].workload, status, teaches)
            for trail in one.trails()
            for ts, target, status, teaches in zip(trail.ts, trail.target, trail.status, trail.teaches, strict=True)
        ]
    assert [(0.0, "shop/cart", 200, True), (2.0, "w", 200, False), (4.0, "shop/cart", None, True)] == found


def test_a_shared_one_is_read_by_others_and_gone_at_the_end() -> None:
    with Spool(shared=True) as one:
        one.fill(to_stored([made(0)]))
        (batches,) = one.workloads()
        path = Path(str(batches._file))
        assert path.is_file()
        assert [1, 1] == [sum(map(len, batches)) for _ in range(2)]
    assert not path.exists()


@pytest.mark.parametrize("buffering", [0, -1])
def test_no_room_is_said(buffering: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs a device that is always full")
    monkeypatch.setattr(tempfile, "SpooledTemporaryFile", lambda _: Path("/dev/full").open("r+b", buffering=buffering))  # noqa: SIM115
    with Spool() as one, pytest.raises(StoreError, match=f"{tempfile.gettempdir()}: expected room"):
        one.fill(to_stored([made(0)]))


def test_nothing_is_no_workload() -> None:
    assert {} == spooled([])
