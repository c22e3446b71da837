"""Calls in columns are the same calls."""

import msgspec
import numpy as np
import pytest

from authz_server.engine.call import Kind, Parameter
from authz_server.engine.errors import FormatError
from authz_server.engine.record import CallRecord, to_parsed_call
from tests.factories_engine import JSON, NOON, record
from tests.factories_trainer import to_batch
from trainer.batch import Batch, decode_batch, encode_batch
from trainer.batch_builder import BatchBuilder
from trainer.partial_record import StoredCall, to_stored
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


def test_values_are_decoded_once_for_all_that_are_left() -> None:
    batch = to_batch(CASES)
    assert batch.only(np.array([True, False] * 2 + [True])).parameters is batch.parameters


def test_calls_taken_one_by_one_are_the_same_as_all_at_once() -> None:
    builder = BatchBuilder(CASES[0].workload)
    for call in to_stored(CASES):
        builder.add([call])
    assert encode_batch(to_batch(CASES)) == encode_batch(builder.build())


def stored(parameters: bytes) -> StoredCall:
    head = b'{"id":"d-1","ts":1.0,"workload":"shop/cart","method":"GET","path":"/","parameters":'
    return msgspec.json.decode(head + parameters + b"}", type=StoredCall)


AS_RECORDED = (
    b'[{"key":"query:a \\"b","kind":"word","length":4,"classes":1,"text":"},{"},'
    b'{"key":"body:/c","kind":"null","length":0,"classes":0,"text":""}]'
)
AS_OTHERS_MAY = (
    b' [ {"text":"},{" ,"classes":1,"length":4,"kind":"word","key":"query:a \\u0022b","more":[{"key":"x"}]} ,'
    b'\t{"length":0,"key":"body:\\/c","kind":"null","classes":0,"text":""} ] '
)


@pytest.mark.parametrize("parameters", [AS_RECORDED, AS_OTHERS_MAY], ids=["as recorded", "as others may"])
def test_parameters_are_read_however_they_are_written(parameters: bytes) -> None:
    builder = BatchBuilder("shop/cart")
    builder.add([stored(parameters)])
    batch = decode_batch(encode_batch(builder.build()))
    expected = (Parameter('query:a "b', Kind.WORD, 4, 1, "},{"), Parameter("body:/c", Kind.NULL, 0, 0, ""))
    assert (expected, [('query:a "b', "body:/c")]) == (batch.call(0).parameters, [form.keys for form in batch.forms])


@pytest.mark.parametrize("parameters", [b'[{"kind":"word"}]', b'[{"key":"query:a","kind":"unheard of"}]', b"[1]"])
def test_parameters_that_are_none_are_said(parameters: bytes) -> None:
    builder = BatchBuilder("shop/cart")
    builder.add([stored(parameters)])
    with pytest.raises(FormatError, match="shop/cart: expected calls with parameters as recorded"):
        _ = builder.build().parameters


@pytest.mark.parametrize("sign", [1, -1])
def test_numbers_that_are_nonsense_are_cut(sign: int) -> None:
    nonsense = record(resp_size=sign << 80, status=sign << 90, body_size=sign << 70)
    batch = decode_batch(encode_batch(to_batch([nonsense])))
    assert ([sign << 62], [sign << 62], [sign << 62]) == (batch.resp_size, batch.status, batch.body_size)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_trail_cuts_them_too(sign: int) -> None:
    builder = TrailBuilder()
    builder.add(list(to_stored([record(status=sign << 90, request_id="r-1")])))

    assert [sign << 62] == decode_trail(encode_trail(builder.build())).status


def test_outcomes_are_told_apart() -> None:
    batch = to_batch(CASES)
    assert [True, False, True, False, True] == batch.succeeded.tolist()
    assert [False, True, False, False, False] == batch.refused.tolist()
