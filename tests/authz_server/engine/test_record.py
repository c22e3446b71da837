"""What is stored of a call."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz_server.engine.call import Call, Outcome
from authz_server.engine.policy import Mode, Rule, SessionSource
from authz_server.engine.record import (
    CallRecord,
    OutcomeRecord,
    encode_record,
    to_call_record,
    to_parsed_call,
)
from authz_server.engine.verdict import to_verdict
from tests.factories_engine import FORM, JSON, call, judge, ready

ID = "0123456789abcdef0123456789abcdef"


OTHERS = (
    "text/xml",
    "application/graphql",
    "application/grpc",
    "application/x-protobuf",
    "multipart/form-data; boundary=b",
    "x/y",
)
BODIES = (
    *(b"<a x='1'>2</a>", b"{a(x:1e999,y:9e400)}", b'{"query":"{a}"}', b"\0\0\0\0\x09\x09" + b"\xff" * 8, b"\x0d\0\0\xc0\x7f"),
    b'--b\r\ncontent-disposition: form-data; name="a"; filename="b.c"\r\n\r\nx\r\n--b--',
)
"""Also infinities and not-a-numbers, which JSON can't write."""


def stored(made: Call, mode: Mode = Mode.ENFORCE) -> CallRecord:
    return to_call_record(made, to_verdict(judge(made, ready()), made, Rule(mode), ID, "r-1"))


def read(line: bytes) -> CallRecord:
    return msgspec.json.decode(line, type=CallRecord)


def test_a_record_is_flat_and_says_what_was_decided() -> None:
    made = call("GET", "/admin/7")
    row = msgspec.json.decode(encode_record(stored(made)))
    p_value = judge(made, ready()).p_value
    assert tuple(row[k] for k in ("id", "verdict", "mode", "path", "p_value")) == (ID, "deny", "enforce", "/admin/0", p_value)
    assert not [name for name, value in row.items() if isinstance(value, dict)]


def test_status_is_unknown_until_it_is_known() -> None:
    assert read(encode_record(stored(call()))).status is None


@given(
    target=st.text(max_size=40),
    headers=st.dictionaries(st.sampled_from(["cookie", "x-a"]), st.text(max_size=20)),
    kind=st.sampled_from([{}, JSON, FORM, *({"content-type": kind} for kind in OTHERS)]),
    body=st.none()
    | st.binary(max_size=40)
    | st.sampled_from(BODIES)
    | st.floats(allow_nan=False, allow_infinity=False).map(lambda n: f"[{n!r}]".encode()),
)
@settings(max_examples=150, deadline=None)
def test_write_then_read_gives_the_very_call_back(
    target: str, headers: dict[str, str], kind: dict[str, str], body: bytes | None
) -> None:
    made = call("POST", target, headers={**headers, **kind}, body=body, sources=(SessionSource(cookie="sid"),))
    line = encode_record(stored(made))
    assert b"\n" not in line
    assert made == to_parsed_call(read(line))


@pytest.mark.parametrize("target", ["/?n=9.9e999", "/?n=-9.9e999", "/?n=5.0e-324", "/?n=1.0e300"])
def test_extreme_numbers_survive(target: str) -> None:
    made = call("GET", target)
    assert made == to_parsed_call(read(encode_record(stored(made))))


def test_outcome_is_stored_and_read() -> None:
    record = OutcomeRecord("d-1", 1.5, "r-1", "shop/cart", "GET", 503, 12, 3.25, ("UF", "URX"))
    assert record == msgspec.json.decode(encode_record(record), type=OutcomeRecord)
    assert record.outcome == Outcome(503, 12, 3.25, ("UF", "URX"))
