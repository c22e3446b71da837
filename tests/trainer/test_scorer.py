"""Scoring many calls at once says what the engine says of each."""

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz_server.engine.decide import score
from authz_server.engine.history import CallerHistory, add_step
from authz_server.engine.model import ReadyModel
from authz_server.engine.record import CallRecord, to_parsed_call
from tests.factories_engine import FORM, JSON, NOON, record
from tests.factories_trainer import to_batch
from trainer.scorer import Scorer
from trainer.train import train_calls


def normal(number: int) -> CallRecord:
    who: dict[str, Any] = {"ts": NOON + number, "record_id": f"d-{number}", "session": f"s{number % 97}", "address": ""}
    kind = number % 4
    if kind == 0:
        return record("GET", f"/items/{1000 + number % 50}?color={('red', 'blue')[number % 8 // 4]}", **who)
    if kind == 1:
        return record("POST", "/cart", headers=JSON, body=f'{{"count":{number % 9}}}'.encode(), body_size=11, **who)
    if kind == 2:
        return record("POST", "/login", headers=FORM, body=b"user=ann&password=secret", body_size=24, **who)
    return record("GET", "/items", headers={"accept": "*/*", "x-trace": f"{number:x}"}, **who)


ODD = [
    *(record("GET", "/items/1007?color=red'%20OR%201=1--"), record("GET", "/items/x%00y"), record("GET", "/admin/backup.zip")),
    *(record("PROPFIND", "/cart"), record("GET", "/items?debug=1"), record("GET", "/items", headers={"x-new": "1"})),
    *(record("POST", "/login", headers=FORM, body=b"user=ann"), record("POST", "/cart", headers=JSON, body=b'{"count":-5}')),
    *(record("POST", "/cart", body=b"\x00\x01", body_size=2), record("GET", "/items", source="spiffe://td/ns/x/sa/y")),
    *(record("POST", "/cart", headers=JSON, body=b'{"count":1', body_size=9_000_000), record("GET", "/items;v=1")),
    record(http=False, port=22),
]


@pytest.fixture(scope="module")
def ready() -> ReadyModel:
    (model,) = train_calls(lambda: [normal(number) for number in range(2_000)])
    return ReadyModel(model, "")


@given(st.lists(st.one_of(st.integers(0, 3_000).map(normal), st.sampled_from(ODD)), min_size=1, max_size=30), st.booleans())
@settings(max_examples=60, deadline=None)
def test_every_call_has_the_surprises_that_the_engine_finds(ready: ReadyModel, records: list[CallRecord], known: bool) -> None:
    batch = to_batch(records)
    scorer = Scorer(ready, batch, np.arange(len(batch)))
    history = CallerHistory(0.0, 1e9)
    if known:
        add_step(history, "POST /cart")
    past = history if known else None
    calls = [msgspec.structs.replace(to_parsed_call(one), request_id="") for one in records]
    expected = [score(call, ready, ready.match(call), past) for call in calls]
    assert expected == [scorer.score(row, past) for row in range(len(records))]
    assert [ready.match(call)[0] for call in calls] == [scorer.endpoints[target] for target in batch.target.tolist()]


def test_most_normal_calls_are_plain_and_odd_ones_never(ready: ReadyModel) -> None:
    usual = to_batch([normal(number) for number in range(200)])
    assert Scorer(ready, usual, np.arange(200)).plain.mean() > 0.9
    odd = to_batch(ODD)
    scorer = Scorer(ready, odd, np.arange(len(ODD)))
    assert [False] * len(ODD) == (scorer.plain & scorer.known).tolist()
