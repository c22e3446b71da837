"""Records with fewer fields say of a call what the whole record says."""

import msgspec
import pytest

from authz_server.engine.record import CallRecord, encode_record
from tests.factories_engine import record
from trainer.eligible import calibrates, caller_of, teaches, was_refused
from trainer.partial_record import CountedCall, SurveyedCall

CASES = [
    ("a plain call", record("GET", "/items/7?a=1")),
    ("an attack", record("GET", "/", label=1)),
    ("a test split's", record("GET", "/", split="test")),
    ("a denied one", record("GET", "/", verdict="deny")),
    ("one that failed", record("GET", "/", status=404)),
    ("an anonymous one", record("GET", "/", session="", address="")),
]


@pytest.mark.parametrize("whole", [case[1] for case in CASES], ids=[case[0] for case in CASES])
def test_a_part_is_eligible_where_the_whole_is(whole: CallRecord) -> None:
    line = encode_record(whole)
    counted, surveyed = msgspec.json.decode(line, type=CountedCall), msgspec.json.decode(line, type=SurveyedCall)
    assert (calibrates(whole), caller_of(whole)) == (calibrates(counted), caller_of(counted))
    assert (teaches(whole), was_refused(whole)) == (teaches(surveyed), was_refused(surveyed))


@pytest.mark.parametrize("part", [CountedCall, SurveyedCall])
def test_a_part_has_the_fields_of_the_whole_and_their_defaults(part: type[msgspec.Struct]) -> None:
    defaults = {field.name: field.default for field in msgspec.structs.fields(CallRecord)}
    assert {field.name: field.default for field in msgspec.structs.fields(part)} == {
        field.name: defaults[field.name] for field in msgspec.structs.fields(part)
    }
