"""What is odd about a call of no known endpoint: its segments, its headers, its form."""

import pytest

from authz_server.engine.call import Flag
from authz_server.engine.finding import FindingCode
from authz_server.engine.parameters import ReadyShared, to_known
from authz_server.engine.profile import Interval
from authz_server.engine.unplaced import score_unplaced
from tests.factories_engine import call, codes, endpoint_profile, json_call, word_profile

WRITTEN = {FindingCode.CHARACTERS: 4.0, FindingCode.SYMBOLS: 4.0, FindingCode.LENGTH: 3.0}
SEGMENTS = to_known(word_profile(lengths=Interval(1, 12), surprises=WRITTEN, values=None, structures=None, symbols=frozenset()))
SHARED = ReadyShared(
    endpoint_profile(
        parameters={"header:accept": word_profile(values=None)},
        surprises={FindingCode.UNKNOWN_HEADER: 2.0, FindingCode.REQUEST_FORM: 3.0},
        flags=frozenset({Flag.DOUBLE_SLASH}),
    )
)


@pytest.mark.parametrize(
    ("target", "headers", "found"),
    [
        ("/admin", {}, []),
        ("/admin/", {}, []),
        ("//admin", {}, []),
        ("/admin;x", {}, [FindingCode.CHARACTERS, FindingCode.REQUEST_FORM]),
        ("/<b>", {}, [FindingCode.CHARACTERS]),
        ("/unsubscribing/newsletters", {}, [FindingCode.LENGTH]),
        ("/admin", {"accept": "aa"}, []),
        ("/admin", {"x-probe": "aa"}, [FindingCode.UNKNOWN_HEADER]),
        ("/admin", {"host": "a", "content-type": "text/plain"}, []),
    ],
)
def test_score_unplaced(target: str, headers: dict[str, str], found: list[FindingCode]) -> None:
    assert sorted(codes(score_unplaced(call("GET", target, headers=headers), SEGMENTS, SHARED))) == sorted(found)


def test_a_headers_value_is_held_against_the_one_that_is_sent_everywhere() -> None:
    odd = call("GET", "/admin", headers={"accept": "a' or '1'='1"})
    assert {one.key for one in score_unplaced(odd, SEGMENTS, SHARED)} == {"header:accept"}


def test_what_belongs_to_an_endpoint_is_not_judged_without_one() -> None:
    assert score_unplaced(json_call("/admin?id=7", b'{"a": 1}'), SEGMENTS, ReadyShared(endpoint_profile(surprises={}))) == []


def test_without_a_profile_of_segments_they_are_not_judged() -> None:
    assert score_unplaced(call("GET", "/<b>"), None, ReadyShared(endpoint_profile(surprises={}))) == []


@pytest.mark.parametrize(
    ("target", "body", "headers", "found"),
    [
        ("/admin?id=seven", b'{"a": "b"}', {}, {}),
        ("/admin?id=%3Cb%3E", b'{"a": "b"}', {}, {"query:id": 5.0}),
        ("/admin?id=seven", b'{"a": "<b>"}', {}, {"body:/a": 5.0}),
        ("/admin", b"{}", {"x-probe": "aa"}, {"header:x-probe": 2.0}),
        ("/admin", b"{}", {"x-probe": "<b>"}, {"header:x-probe": 7.0}),
    ],
)
def test_values_are_held_against_those_of_any_name(
    target: str, body: bytes, headers: dict[str, str], found: dict[str, float]
) -> None:
    written = word_profile(lengths=Interval(1, 12), surprises=WRITTEN, values=None, structures=None, symbols=frozenset())
    shared = ReadyShared(SHARED.profile, written={"q": written, "h": written})
    made = call("POST", target, headers={"content-type": "application/json", **headers}, body=body, body_size=len(body))
    assert {one.key: one.amount for one in score_unplaced(made, None, shared)} == found
