"""The point model: which Surprise for which oddity, and in which words (through `to_finding`, as a person reads them)."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz_server.engine.call import BodyKind, Call, Flag, Kind
from authz_server.engine.endpoint import path_parameters
from authz_server.engine.evidence import MAX_SURPRISE
from authz_server.engine.finding import FindingCode, Surprise
from authz_server.engine.parameters import ReadyProfile, ReadyShared, combination, score_parameter
from authz_server.engine.profile import EndpointProfile, Interval, ParameterProfile
from authz_server.engine.verdict import to_finding
from tests.factories_engine import (
    FORM,
    OBSERVER,
    VALUES,
    call,
    codes,
    endpoint_profile,
    json_call,
    parameter,
    parameter_profile,
    word_profile,
)

COLORS = word_profile(values=frozenset(OBSERVER.text("query:color", color).digest for color in ("red", "blue")))

CASES: list[tuple[str, ParameterProfile, str, list[FindingCode]]] = [
    ("in range", parameter_profile(), "7", []),
    ("at both ends", parameter_profile(), "12", []),
    ("below range", parameter_profile(), "0", [FindingCode.RANGE]),
    ("below range, and so longer", parameter_profile(), "-10", [FindingCode.RANGE]),
    ("above range", parameter_profile(), "13", [FindingCode.RANGE]),
    ("padded number", parameter_profile(), "000007", [FindingCode.LENGTH]),
    ("a fraction", parameter_profile(lengths=Interval(1, 3)), "7.5", [FindingCode.TYPE]),
    ("a text for a number", parameter_profile(lengths=Interval(1, 9)), "red", [FindingCode.TYPE, FindingCode.CHARACTERS]),
    ("nothing for a number", parameter_profile(), "", [FindingCode.TYPE]),
    ("a word", word_profile(), "red", []),
    ("a number for a word", word_profile(), "7", [FindingCode.TYPE, FindingCode.CHARACTERS]),
    ("an injection", word_profile(), "' OR 1=1--", [FindingCode.TYPE, FindingCode.CHARACTERS]),
    ("known characters, new structure", word_profile(classes=1 | 1 << 19), "a-b", [FindingCode.STRUCTURE]),
    ("structures unknown", word_profile(classes=1 | 1 << 19, structures=None), "a-b", []),
    ("longer", word_profile(), "x" * 21, [FindingCode.LENGTH]),
    ("known value", COLORS, "red", []),
    ("unknown value", COLORS, "green", [FindingCode.VALUE]),
    ("unknown long value without digest", COLORS, "x" * 300, [FindingCode.VALUE, FindingCode.TYPE, FindingCode.LENGTH]),
    ("nothing is checked", word_profile(surprises={}), "' OR 1=1--" * 9, []),
    ("numbers without a normal range", parameter_profile(numbers=None), "7", []),
]


@pytest.mark.parametrize(("profile", "value", "found"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_score_parameter(profile: ParameterProfile, value: str, found: list[FindingCode]) -> None:
    seen = score_parameter(parameter("query:color", value), profile)
    assert found == [code for code in codes(seen) if code is not FindingCode.SYMBOLS]


def test_text_type_is_said_where_json_says_it() -> None:
    number_in_quotes = OBSERVER.scalar("body:/count", "7")
    assert FindingCode.TYPE in codes(score_parameter(number_in_quotes, parameter_profile()))


def test_surprise_grows_with_distance_and_is_bounded() -> None:
    amounts = [
        score_parameter(parameter("query:n", str(n)), parameter_profile(lengths=Interval(1, 99)))[0].amount
        for n in (13, 100, 10_000, 10**17)
    ]
    assert amounts == sorted(set(amounts))
    assert amounts[0] < 3.1
    assert max(amounts) <= MAX_SURPRISE


def test_an_infinite_number_is_a_range_finding_with_a_finite_amount() -> None:
    (found,) = score_parameter(
        parameter("query:n", "1.0e999"), parameter_profile(kinds=frozenset({Kind.NUMBER}), lengths=Interval(1, 9))
    )
    assert (found.code, found.amount) == (FindingCode.RANGE, MAX_SURPRISE)


ENDPOINT = "POST /cart/{*}"
PROFILE = endpoint_profile(
    parameters={
        "path:1": parameter_profile(lengths=Interval(1, 4), numbers=Interval(1, 9_999)),
        "query:color": COLORS,
        "body:/count": parameter_profile(),
        "body:/note": word_profile(),
        "header:content-type": word_profile(classes=(1 << 40) - 1, kinds=frozenset(Kind), structures=None),
    },
    required={"body:/count": 4.0},
    combinations=frozenset({"body:/count", "body:/count body:/note", "body:/count query:color"}),
    bodies=frozenset({BodyKind.JSON}),
)
SHARED = endpoint_profile(
    parameters={"header:accept": word_profile(classes=(1 << 40) - 1, kinds=frozenset(Kind), structures=None)},
    surprises={FindingCode.UNKNOWN_HEADER: 2.0},
)


def judged(made: Call, profile: EndpointProfile = PROFILE) -> list[Surprise]:
    return ReadyProfile(path_parameters(ENDPOINT), profile, ReadyShared(SHARED)).score(made)


def texts(made: Call, profile: EndpointProfile = PROFILE) -> list[str]:
    return [to_finding(surprise, ENDPOINT).text for surprise in judged(made, profile)]


def test_a_normal_call_has_no_surprise() -> None:
    assert judged(json_call("/cart/7?color=red", b'{"count":2}')) == []


@pytest.mark.parametrize(
    ("unknown", "value", "amount"),
    [(3.0, "red", 3.0), (3.0, "<b>", 8.0), (0.0, "red", None), (0.0, "<b>", 5.0), (2.0, "<b>", 7.0)],
)
def test_an_unknown_parameter_is_as_odd_as_its_name_and_its_value(unknown: float, value: str, amount: float | None) -> None:
    profile = endpoint_profile(surprises={FindingCode.UNKNOWN_PARAMETER: unknown}, combinations=None)
    written = word_profile(surprises={FindingCode.CHARACTERS: 4.0}, values=None)
    ready = ReadyProfile((), profile, ReadyShared(endpoint_profile(surprises={}), written={"q": written}))
    found = ready.score(call("GET", f"/cart?new={value}"))
    assert [(FindingCode.UNKNOWN_PARAMETER, amount)] * (amount is not None) == [(one.code, one.amount) for one in found]


WORDS: list[tuple[str, Call, str]] = [
    ("range", json_call("/cart/7", b'{"count":-1}'), "`/count` was -1; in 48,211 calls it was an integer from 1 to 12"),
    (
        "path",
        json_call("/cart/99999", b'{"count":1}'),
        "path segment 2 was 99999; in 48,211 calls it was an integer from 1 to 9999",
    ),
    (
        "type",
        json_call("/cart/7", b'{"count":"many"}'),
        "`/count` was word of the form `aaaa`; in 48,211 calls it was integer",
    ),
    (
        "characters of a number",
        json_call("/cart/7", b'{"count":"many"}'),
        "`/count` was word of the form `aaaa`; in 48,211 calls it was without lower-case letters",
    ),
    (
        "characters",
        json_call("/cart/7", b'{"count":1,"note":"a\'b"}'),
        "`/note` was string of the form `a'a`; in 48,211 calls it was lower-case letters only, without `'`",
    ),
    (
        "value",
        json_call("/cart/7?color=green", b'{"count":1}'),
        "`color` was word of the form `aaaaa`; in 48,211 calls it was one of 2 known values",
    ),
    (
        "length",
        json_call("/cart/7", b'{"count":1,"note":"' + b"x" * 30 + b'"}'),
        "`/note` was 30 characters; in 48,211 calls it was from 1 to 20 characters long",
    ),
    (
        "unknown parameter",
        json_call("/cart/7?debug=1", b'{"count":1}'),
        "`debug` was 1; in 5,000 calls there was only /count, /note or color",
    ),
    (
        "unknown header",
        call("POST", "/cart/7", headers={"content-type": "application/json", "x-skip": "yes"}, body=b'{"count":1}'),
        "`x-skip` was word of the form `aaa`; in 5,000 calls there was one of 1 other headers and cookies",
    ),
    ("missing", json_call("/cart/7", b'{"note":"x"}'), "`/count` was absent; in 5,000 calls it was present"),
    (
        "combination",
        json_call("/cart/7?color=red", b'{"count":1,"note":"x"}'),
        "/count, /note, color; in 5,000 calls: one of 3 other combinations",
    ),
    ("form of the request", json_call("/cart/7;x", b'{"count":1}'), "path parameter; in 5,000 calls: not so"),
    (
        "kind of body",
        call("POST", "/cart/7", headers=FORM, body=b"count=1"),
        "body: form; in 5,000 calls: body: json",
    ),
]


@pytest.mark.parametrize(("made", "text"), [case[1:] for case in WORDS], ids=[case[0] for case in WORDS])
def test_finding_in_words(made: Call, text: str) -> None:
    assert text in texts(made)


def test_structure_in_words() -> None:
    surprise = score_parameter(parameter("query:color", "a-b"), word_profile(classes=1 | 1 << 19))[0]
    assert to_finding(surprise, ENDPOINT).text == "`color` was word of the form `a-a`; in 48,211 calls it was of the form a"


ONE: list[tuple[str, str, dict[str, Any], str]] = [
    ("one value", "red", {"values": frozenset({"0"}), "surprises": {FindingCode.VALUE: 3.0}}, "it was always the same value"),
    (
        "one character",
        "abc",
        {"lengths": Interval(1, 1), "surprises": {FindingCode.LENGTH: 3.0}},
        "`color` was 3 characters; in 48,211 calls it was 1 character long",
    ),
    ("no text", "abc", {"structures": frozenset(), "surprises": {FindingCode.STRUCTURE: 3.0}}, "it was no text of any form"),
]


@pytest.mark.parametrize(("value", "changes", "text"), [case[1:] for case in ONE], ids=[case[0] for case in ONE])
def test_one_or_none_in_words(value: str, changes: dict[str, Any], text: str) -> None:
    (surprise,) = score_parameter(parameter("query:color", value), word_profile(**changes))
    assert to_finding(surprise, ENDPOINT).text.endswith(text)


def test_symbols_in_words() -> None:
    profile = word_profile(
        classes=1 | 1 << 19, structures=None, symbols=frozenset({"-1", "-2"}), surprises={FindingCode.SYMBOLS: 3.0}
    )
    assert score_parameter(parameter("query:color", "a-b-c"), profile) == []
    (surprise,) = score_parameter(parameter("query:color", "a-b-c-d"), profile)
    assert to_finding(surprise, ENDPOINT).text == (
        "`color` was word of the form `a-a-a-a`; in 48,211 calls it was with 1 `-` or 2 `-`"
    )


def test_new_marks_are_told_once_and_not_as_a_structure_too() -> None:
    """A structure has the same marks: that it is new too follows."""
    marks = {FindingCode.SYMBOLS: 3.0, FindingCode.STRUCTURE: 2.0}
    profile = word_profile(classes=1 | 1 << 19, symbols=frozenset({"-1"}), surprises=marks)
    assert codes(score_parameter(parameter("query:color", "a-b-c"), profile)) == [FindingCode.SYMBOLS]
    assert codes(score_parameter(parameter("query:color", "a-b"), profile)) == [FindingCode.STRUCTURE]


def test_no_parameter_at_all_in_words() -> None:
    bare = endpoint_profile(bodies=frozenset({BodyKind.NONE}))
    assert texts(call("POST", "/cart/7?debug=1"), bare) == ["`debug` was 1; in 5,000 calls there was no parameter at all"]


def test_kinds_are_told_in_a_fixed_order() -> None:
    profile = parameter_profile(kinds=frozenset({Kind.UUID, Kind.DATE, Kind.WORD}))
    assert score_parameter(parameter("query:q", "7"), profile)[0].normal == "date, uuid or word"


def test_an_unknown_parameter_is_told_once_and_not_as_a_combination_too() -> None:
    assert codes(judged(json_call("/cart/7?debug=1", b'{"count":1}'))) == [FindingCode.UNKNOWN_PARAMETER]


def test_a_missing_parameter_is_told_once_and_not_as_a_combination_too() -> None:
    assert codes(judged(json_call("/cart/7", b'{"note":"x"}'))) == [FindingCode.MISSING_PARAMETER]


def test_a_combination_seen_before_needs_nothing_else() -> None:
    profile = endpoint_profile(
        combinations=frozenset({"query:a"}), required={"query:b": 5.0}, parameters={"query:a": word_profile()}
    )
    assert judged(call("POST", "/cart/7?a=x"), profile) == []


def test_a_combination_that_was_found_to_be_known_lets_no_other_one_pass() -> None:
    ready = ReadyProfile(path_parameters(ENDPOINT), PROFILE, ReadyShared(SHARED))
    calls = [
        (json_call("/cart/7", b'{"count":1,"note":"x"}'), []),
        (json_call("/cart/7", b'{"count":1}'), []),
        (json_call("/cart/7", b'{"note":"x"}'), [FindingCode.MISSING_PARAMETER]),
        (json_call("/cart/7?color=red", b'{"count":1,"note":"x"}'), [FindingCode.UNKNOWN_COMBINATION]),
        (json_call("/cart/7", b'{"count":1,"notes":"x"}'), [FindingCode.UNKNOWN_PARAMETER]),
        (json_call("/cart/7", b'{"count":1,"note":"x"}'), []),
    ]
    assert [expected for _, expected in calls] == [codes(ready.score(made)) for made, _ in calls]


def test_unknown_parameters_do_not_pass_for_a_combination_that_had_another_one() -> None:
    profile = endpoint_profile(
        combinations=frozenset({"query:a query:new"}), parameters={"query:a": word_profile()}, required={"query:b": 5.0}
    )
    ready = ReadyProfile((), profile, ReadyShared(SHARED))
    assert codes(ready.score(call("POST", "/?a=x&new=1"))) == [FindingCode.UNKNOWN_PARAMETER]
    assert FindingCode.MISSING_PARAMETER in codes(ready.score(call("POST", "/?a=x&other=1")))


def test_too_many_combinations_are_none_but_required_parameters_stay_so() -> None:
    profile = endpoint_profile(combinations=None, required={"query:b": 5.0}, parameters={"query:a": word_profile()})
    assert codes(judged(call("POST", "/cart/7?a=x"), profile)) == [FindingCode.MISSING_PARAMETER]


def test_a_truncated_body_is_neither_missing_nor_a_combination_nor_another_kind() -> None:
    made = call("POST", "/cart/7", headers={"content-type": "application/json"}, body=b'{"no', truncated=True)
    assert judged(made) == []


def test_a_flag_that_is_normal_here_is_no_surprise() -> None:
    profile = endpoint_profile(flags=frozenset({Flag.DOUBLE_SLASH}))
    ready = ReadyProfile((), profile, ReadyShared(SHARED))
    assert codes(ready.score(call("GET", "//a"))) == []
    assert codes(ready.score(call("GET", "//a/../b"))) == [FindingCode.REQUEST_FORM]


def test_headers_are_judged_by_the_workload_and_content_type_by_the_endpoint() -> None:
    made = call("POST", "/cart/7", headers={"content-type": "text/x", "accept": "*/*"}, body=b'{"count":1}')
    assert codes(judged(made)) == [FindingCode.REQUEST_FORM]


@pytest.mark.parametrize(
    ("target", "body", "names"),
    [
        ("/", b"", ""),
        ("/?b=1&a=1&b=2", b"", "query:a query:b"),
        ("/?a=1", b'{"x":[1,2],"y":{"z":1}}', "body:/x/* body:/y/z query:a"),
    ],
)
def test_combination_is_sorted_and_distinct(target: str, body: bytes, names: str) -> None:
    assert names == combination(json_call(target, body))


@given(VALUES)
@settings(max_examples=150, deadline=None)
def test_any_value_is_scored_in_bounds_and_without_itself(value: str) -> None:
    for profile in (parameter_profile(), word_profile(), COLORS):
        for surprise in score_parameter(parameter("query:q", value), profile):
            assert 0 < surprise.amount <= MAX_SURPRISE
            assert surprise.evidence == profile.n


READY = (
    *(profile for _, profile, _, _ in CASES),
    word_profile(structures=frozenset({"a-a", "a"}), classes=1 | 1 << 19, symbols=frozenset({"-1"})),
    word_profile(kinds=frozenset({Kind.HEX, Kind.WORD}), structures=None, symbols=frozenset({"-2"})),
    word_profile(kinds=frozenset(Kind), classes=-1, structures=frozenset({"a", "0"}), values=frozenset()),
)
"""Profiles of every make."""


@given(VALUES, st.sampled_from(READY), st.booleans())
@settings(max_examples=400, deadline=None)
def test_what_passes_in_one_step_is_what_passes_check_by_check(value: str, profile: ParameterProfile, json: bool) -> None:
    seen = OBSERVER.scalar("query:q", value) if json else parameter("query:q", value)
    of_endpoint = endpoint_profile(parameters={"query:q": profile}, combinations=None, required={})
    ready = ReadyProfile((), of_endpoint, ReadyShared(SHARED))
    assert score_parameter(seen, profile) == ready.score(msgspec.structs.replace(call("GET", "/"), parameters=(seen,)))
