"""Calls in columns are the same calls."""

import msgspec
import numpy as np
import pytest

from authz_server.engine.record import CallRecord, to_parsed_call
from tests.factories_engine import JSON, NOON, record
from tests.factories_trainer import to_batch
from trainer.batch import Batch, decode_batch, encode_batch
from trainer.partial_record import to_stored
from trainer.trail import TrailBuilder, decode_trail, encode_trail

BODY = b'{"n":[1,2],"s":"a},{b"}'
CASES = [
    record("GET", "/items/7?a=1&a=2", ts=NOON, record_id="d-1", status=None, session="s", address="a"),
    record("GET", "/items/8?a=1", ts=NOON + 1, record_id="d-2", status=404, resp_size=1 << 40, duration_ms=0.25, session=""),
    record("POST", "/cart//x", headers=JSON, body=BODY, body_size=len(BODY), ts=NOON + 2, record_id="d-3", port=8080),
    record("GET", "/items/7?a=1&a=2", ts=NOON + 3, record_id="d-4", status=0, session="s", address="b"),
    record(http=False, port=6379, ts=NOON + 4, record_id="d-5"),
]


def calls(batch: Batch) -> list[object]:
    """All that is known of each call, in plain types."""
    columns = zip(batch.ids, batch.status, batch.resp_size, batch.duration_ms, strict=True)
    return [(*known, batch.call(row)) for row, known in enumerate(columns)]


def expected(records: list[CallRecord]) -> list[object]:
    return [
        (
            *(one.id, one.status, one.resp_size, one.duration_ms),
            msgspec.structs.replace(to_parsed_call(one), request_id=""),
        )
        for one in records
    ]


def test_every_call_comes_back() -> None:
    assert expected(CASES) == calls(to_batch(CASES))


def test_write_then_read_is_identity() -> None:
    batch = to_batch(CASES)
    assert calls(batch) == calls(decode_batch(encode_batch(batch)))


def test_what_repeats_stands_once() -> None:
    batch = to_batch([CASES[0]] * 3)
    assert (1, 1, 1) == (len(batch.targets), len(batch.senders), len(batch.forms))
    assert len({parameter.key for parameter in batch.parameters}) <= len(batch.parameters) <= 4


@pytest.mark.parametrize("kept", [[True] * 5, [False] * 5, [True, False, True, False, False], [False, True, False, True, True]])
def test_calls_that_are_left_out_are_gone(kept: list[bool]) -> None:
    only = to_batch(CASES).only(np.array(kept))
    assert expected([one for one, stays in zip(CASES, kept, strict=True) if stays]) == calls(only)
    assert only.owner.tolist() == [row for row in range(len(only)) for _ in only.call(row).parameters]


@pytest.mark.parametrize("sign", [1, -1])
def test_numbers_that_are_nonsense_are_cut(sign: int) -> None:
    nonsense = record(resp_size=sign << 80, status=sign << 90, body_size=sign << 70)
    batch = decode_batch(encode_batch(to_batch([nonsense])))
    assert ([sign << 62], [sign << 62], [sign << 62]) == (batch.resp_size, batch.status, batch.body_size)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_trail_cuts_them_too(sign: int) -> None:
    builder = TrailBuilder()
    for call in to_stored([record(status=sign << 90, request_id="r-1")]):
        builder.add(call)

    assert [sign << 62] == decode_trail(encode_trail(builder.build())).status


def test_outcomes_are_told_apart() -> None:
    batch = to_batch(CASES)
    assert [True, False, True, False, True] == batch.succeeded.tolist()
    assert [False, True, False, False, False] == batch.refused.tolist()
