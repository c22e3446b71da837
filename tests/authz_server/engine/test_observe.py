"""From a clear value to a Parameter."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz_server.engine.call import Kind
from authz_server.engine.observe import (
    CLASS_NAMES,
    MAX_DIGESTED,
    MAX_TEXT,
    NOT_UTF8,
    Observer,
    bounded_name,
    class_names,
    is_name,
    is_secret,
    names_itself,
    structure,
    symbols,
)
from tests.factories_engine import OBSERVER

KINDS = [
    ("", Kind.EMPTY),
    ("7", Kind.INTEGER),
    ("-7", Kind.INTEGER),
    ("+7", Kind.INTEGER),
    ("007", Kind.INTEGER),
    ("123456789012345678", Kind.INTEGER),
    ("1234567890123456789", Kind.HEX),
    ("7.5", Kind.NUMBER),
    ("-.5", Kind.NUMBER),
    ("1.", Kind.NUMBER),
    ("1.5e10", Kind.NUMBER),
    ("red", Kind.WORD),
    ("sort-by_price.asc", Kind.WORD),
    ("2026-11-02", Kind.DATE),
    ("2026-11-02T10:11:12.5Z", Kind.DATE),
    ("2026-11-02 10:11:12+02:00", Kind.DATE),
    ("2026-11-2", Kind.STRING),
    ("0b0e3a51-93a5-4bd5-a4f9-52e9e7f6b7a2", Kind.UUID),
    ("0B0E3A51-93A5-4BD5-A4F9-52E9E7F6B7A2", Kind.UUID),
    ("deadbeef1", Kind.HEX),
    ("deadbeef", Kind.WORD),
    ("aB3dE5gH7jK9mN1p", Kind.TOKEN),
    ("eyJhbGciOiJIUzI1NiJ9.e30.abc", Kind.TOKEN),
    ("alice@example.com", Kind.EMAIL),
    ("a b", Kind.STRING),
    ("' OR 1=1--", Kind.STRING),
    ("caf\u00e9", Kind.STRING),
    ("\u0661\u0662", Kind.STRING),
    ("7\n", Kind.STRING),
    ("x" * 513, Kind.STRING),
]


@pytest.mark.parametrize(("value", "kind"), KINDS)
def test_text_shows_its_kind(value: str, kind: Kind) -> None:
    assert kind == OBSERVER.text("query:q", value).kind


SCALARS = [
    (7, Kind.INTEGER, 7.0),
    (-7, Kind.INTEGER, -7.0),
    (7.5, Kind.NUMBER, 7.5),
    (1e-7, Kind.NUMBER, 1e-7),
    (1e16, Kind.NUMBER, 1e16),
    (5e-324, Kind.NUMBER, 0.0),
    (1e300, Kind.NUMBER, 1e300),
    (10**30, Kind.INTEGER, 1e30),
    (-(10**400), Kind.INTEGER, -1e300),
    ("7", Kind.STRING, None),
    ("7.5", Kind.STRING, None),
    ("red", Kind.WORD, None),
    (True, Kind.BOOLEAN, None),
    (None, Kind.NULL, None),
]


@pytest.mark.parametrize(("value", "kind", "number"), SCALARS)
def test_scalar_keeps_the_type_json_said(value: str | float | bool | None, kind: Kind, number: float | None) -> None:
    seen = OBSERVER.scalar("body:/x", value)
    assert (kind, number) == (seen.kind, seen.number)


@given(st.permutations([1, 1.0, True, "1", "1.0", 0, 0.0, -0.0, False, "0", None, "null", 10**18, 1e18, -1, -1.0]))
@settings(max_examples=50, deadline=None)
def test_a_scalar_is_not_taken_for_an_equal_one_of_another_type(values: list[str | float | bool | None]) -> None:
    observer = Observer()
    once = [observer.scalar("body:/x", value) for value in values]
    assert once == [Observer().scalar("body:/x", value) for value in values]
    assert once == [observer.scalar("body:/x", value) for value in values]


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("999999", 999_999.0),
        ("4111111111111111", 4.11e15),
        ("-4111111111111111", -4.11e15),
        ("1234567.5", 1.23e6),
        ("9.9e999", 1e300),
        ("-9.9e999", -1e300),
        ("5.0e-324", 0.0),
        ("0.25", 0.25),
    ],
)
def test_number_is_exact_up_to_a_million_and_always_finite(value: str, number: float) -> None:
    assert number == OBSERVER.text("query:n", value).number


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("Hello World 42", "Aaaaa Aaaaa 00"),
        ("' OR 1=1--", "' AA 0=0--"),
        ("a\tb\x7f", "a¤a¤"),
        ("caf\u00e9", "aaa·"),
        ("x" * 100, "a" * MAX_TEXT),
        ("\u00e9" * 100, "·" * MAX_TEXT),
    ],
)
def test_text_is_masked_and_keeps_its_shape(value: str, text: str) -> None:
    assert text == OBSERVER.text("query:q", value).text


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("aB1 ", ["lower-case letters", "upper-case letters", "digits", "spaces"]),
        ("'\\", ["`'`", "`\\`"]),
        ("\n", ["control characters"]),
        ("\u00e9", ["non-ASCII letters"]),
        ("", []),
    ],
)
def test_classes_are_named_in_words(value: str, names: list[str]) -> None:
    assert names == class_names(OBSERVER.text("query:q", value).classes)


def test_bytes_that_are_not_utf8_have_a_class_of_their_own() -> None:
    assert "bytes that aren't UTF-8" in class_names(OBSERVER.text("query:q", "\u00ff", NOT_UTF8).classes)


def test_every_character_of_a_long_value_counts_and_the_first_are_shown() -> None:
    seen = OBSERVER.text("query:q", "a" * 100_000 + "'\u00e9\x00")
    assert (seen.length, seen.text) == (100_003, "a" * MAX_TEXT)
    assert seen.classes == OBSERVER.text("query:q", "a'\u00e9\x00").classes


def test_every_class_has_one_name() -> None:
    assert len(set(CLASS_NAMES)) == len(CLASS_NAMES)
    assert list(CLASS_NAMES) == class_names((1 << len(CLASS_NAMES)) - 1)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "cart",
            "v1",
            "v12",
            "app.min.js",
            "tienda1",
            "@scope",
            "my-service",
            "~alice",
            "getUserById",
            "WEB-INF",
            "pkg.Service",
        ),
        *("x-amz-content-sha256", "SHA-512", "getV2UserListByName", "getHTTPResponseCodeForURL", "findByIdInIds"),
    ],
)
def test_is_name_for_what_a_programmer_chose(text: str) -> None:
    assert is_name(text)


@pytest.mark.parametrize(
    "text",
    [
        "7",
        "123",
        "v123",
        "0b0e3a51-93a5-4bd5-a4f9-52e9e7f6b7a2",
        "deadbeef1234",
        "alice@example.com",
        "a b",
        "{*}",
        "*",
        "caf\u00e9",
        "x" * 65,
        "aBcDeFgHiJkLmNoPqR",
        "Ic6MTDqbZPxWpLIavdRDWx",
        "cus_AbQdXfGhJkWmNp",
        "a256",
        "a%2fb",
        "..;x",
    ],
)
def test_is_name_not_for_data(text: str) -> None:
    assert not is_name(text)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("items[0][price]", "items[0][price]"),
        ("items[12][price]", "items[00][price]"),
        ("address[line1]", "address[line1]"),
        ("filter[deadbeef1234]", "filter[deadbeef0000]"),
        ("order1234", "order0000"),
        ("a b 1", "a a 0"),
    ],
)
def test_bounded_name_keeps_what_a_programmer_chose(name: str, shown: str) -> None:
    assert shown == bounded_name(name)


@pytest.mark.parametrize(
    "key",
    [
        *("query:password", "body:/user/passwd", "header:authorization", "cookie:session_id", "query:api-key", "query:apikey"),
        *("body:/card/number", "query:pin", "query:sid", "cookie:JSESSIONID", "header:x-auth-token", "body:/cvv", "query:sig"),
    ],
)
def test_is_secret_by_name(key: str) -> None:
    assert is_secret(key)
    seen = OBSERVER.text(key, "123456")
    assert (seen.number, seen.digest) == (None, "")
    assert OBSERVER.scalar(key, 123456).number is None
    assert OBSERVER.scalar(key, 1e-7).number is None
    assert OBSERVER.scalar(key, 10**30).number is None


@pytest.mark.parametrize("key", ["query:count", "query:keyboard", "query:author", "body:/spin", "query:design", "query:inside"])
def test_is_secret_not_by_chance(key: str) -> None:
    assert not is_secret(key)


def test_path_segment_that_is_a_name_stays_clear_and_data_does_not() -> None:
    assert OBSERVER.segment("path:0", "cart").text == "cart"
    assert OBSERVER.segment("path:1", "alice@example.com").text == "aaaaa@aaaaaaa.aaa"
    assert OBSERVER.segment("path:4", "npm_xY7zW1vU3tS5rQ9p").text == "aaa_aA0aA0aA0aA0aA0a"


@given(st.text(max_size=80))
@settings(max_examples=200, deadline=None)
def test_masked_segment_still_tells_whether_it_was_a_name(text: str) -> None:
    assert is_name(text) == names_itself(OBSERVER.segment("path:0", text))


@given(st.text(max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_text_yields_a_parameter_without_its_letters_and_digits(value: str) -> None:
    seen = OBSERVER.text("query:q", value)
    assert len(value) == seen.length
    assert len(seen.text) <= MAX_TEXT
    assert not any(char.isalnum() and char not in "aA0" for char in seen.text)
    assert seen.number is None or math.isfinite(seen.number)


def test_digest_differs_by_value_and_hash_key_and_stops_at_long_values() -> None:
    other = Observer("another hash key")
    assert OBSERVER.text("query:q", "red").digest == OBSERVER.text("query:q", "red").digest
    assert OBSERVER.text("query:q", "red").digest != OBSERVER.text("query:q", "blue").digest
    assert OBSERVER.text("query:q", "red").digest != other.text("query:q", "red").digest
    assert OBSERVER.text("query:q", "x" * MAX_DIGESTED).digest
    assert OBSERVER.text("query:q", "x" * (MAX_DIGESTED + 1)).digest == ""
    assert OBSERVER.digest("") == ""


def test_key_id_tells_keys_apart_without_telling_them() -> None:
    assert Observer("one").key_id == Observer("one").key_id
    assert Observer("one").key_id != Observer("two").key_id
    assert "one" not in Observer("one").key_id


@pytest.mark.parametrize(("text", "collapsed"), [("Aaa-00", "a-0"), ("", ""), ("aA00  ''", "a0 ''"), ("0.0.0", "0.0.0")])
def test_structure_collapses_runs_of_letters_digits_and_spaces(text: str, collapsed: str) -> None:
    assert collapsed == structure(text)


@pytest.mark.parametrize(
    ("text", "counted"), [("aaa", []), ("a@a.aa.a", [".2", "@1"]), ("'" * 6, ["'4"]), ("a \u00b70", []), ("a\u00a4", ["\u00a41"])]
)
def test_symbols_count_punctuation_up_to_four(text: str, counted: list[str]) -> None:
    assert counted == sorted(symbols(text))


def test_a_name_in_clear_is_put_together_as_its_mask_is() -> None:
    assert structure("app.Min-v12") == "a.a-a0"
    assert sorted(symbols("app.Min-v12")) == ["-1", ".1"]


@given(st.text(alphabet="aA0· -_.%{}tru", max_size=64))
@settings(max_examples=200, deadline=None)
def test_a_structure_has_no_runs_and_the_symbols_of_its_text(text: str) -> None:
    collapsed = structure(text)
    assert not any(run in collapsed for run in ("aa", "00", "  ", "A", "·"))
    assert (collapsed, symbols(text)) == (structure(collapsed), symbols(collapsed))
