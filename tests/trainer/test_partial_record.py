"""What training reads of a recorded call says what the whole record says."""

import msgspec
import pytest

from authz_server.engine.call import Parameter
from authz_server.engine.record import CallRecord, encode_record
from tests.factories_engine import record
from trainer.eligible import calibrates, caller_of, succeeded, was_refused
from trainer.partial_record import StoredCall, to_stored

CASES = [
    ("a plain call", record("GET", "/items/7?a=1")),
    ("an attack", record("GET", "/", label=1)),
    ("a test split's", record("GET", "/", split="test")),
    ("a denied one", record("GET", "/", verdict="deny")),
    ("one that failed", record("GET", "/", status=404)),
    ("an anonymous one", record("GET", "/", session="", address="")),
]


@pytest.mark.parametrize("whole", [case[1] for case in CASES], ids=[case[0] for case in CASES])
def test_a_part_says_what_the_whole_says(whole: CallRecord) -> None:
    (part,) = to_stored([whole])
    assert (calibrates(whole), caller_of(whole)) == (calibrates(part), caller_of(part))
    assert (succeeded(whole), was_refused(whole)) == (succeeded(part), was_refused(part))
    assert whole.segments == msgspec.json.decode(part.segments, type=tuple[Parameter, ...])
    assert whole.parameters == tuple([msgspec.json.decode(one, type=Parameter) for one in part.parameters])


def test_a_part_has_the_fields_of_the_whole_and_their_defaults() -> None:
    bare = CallRecord("d-1", 1.0, "shop/cart", "GET", "/")
    part = msgspec.json.decode(encode_record(bare), type=StoredCall)
    decoded = {name: getattr(part, name) for name in StoredCall.__struct_fields__ if name != "segments"}
    assert {name: getattr(bare, name) for name in decoded} == decoded
    assert b"[]" == bytes(part.segments)
