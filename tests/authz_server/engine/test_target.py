"""From a request target to segments, pairs and flags: the traps of `knowledge/envoy-and-istio.md`."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz_server.engine.call import Flag
from authz_server.engine.observe import NOT_UTF8
from authz_server.engine.target import (
    MAX_ESCAPES,
    MAX_PAIRS,
    MAX_SEGMENTS,
    MAX_TARGET,
    cut_target,
    decode,
    split_pairs,
    split_path,
)


def split_target(target: str, flags: set[Flag]) -> tuple[tuple[tuple[str, int], ...], str]:
    """Split a target as `to_call` does."""
    path, query = cut_target(target, flags)
    segments, found = split_path(path)
    flags |= found
    return segments, query


TARGETS: list[tuple[str, list[str], str, set[Flag]]] = [
    ("/", [""], "", set()),
    ("/a", ["a"], "", set()),
    ("/a/", ["a", ""], "", set()),
    ("/a/b?c=d", ["a", "b"], "c=d", set()),
    ("/a?b=c?d=/e", ["a"], "b=c?d=/e", set()),
    ("/a?", ["a"], "", set()),
    ("/a??b", ["a"], "?b", set()),
    ("//admin/people", ["", "admin", "people"], "", {Flag.DOUBLE_SLASH}),
    ("/a//b/", ["a", "", "b", ""], "", {Flag.DOUBLE_SLASH}),
    ("///", ["", "", ""], "", {Flag.DOUBLE_SLASH}),
    ("/a%2Fb", ["a/b"], "", {Flag.ENCODED_SLASH}),
    ("/a%2fb", ["a/b"], "", {Flag.ENCODED_SLASH}),
    ("/a%5Cb", ["a\\b"], "", {Flag.ENCODED_SLASH}),
    ("/a\\b", ["a\\b"], "", {Flag.BACKSLASH}),
    ("/admin;v=1/x", ["admin;v=1", "x"], "", {Flag.PATH_PARAMETER}),
    ("/admin%3Bx", ["admin;x"], "", {Flag.PATH_PARAMETER}),
    ("/a/..;/b", ["a", "..;", "b"], "", {Flag.PATH_PARAMETER}),
    ("/a/../b", ["a", "..", "b"], "", {Flag.DOT_SEGMENT}),
    ("/a/./b", ["a", ".", "b"], "", {Flag.DOT_SEGMENT}),
    ("/a/..", ["a", ".."], "", {Flag.DOT_SEGMENT}),
    ("/.", ["."], "", {Flag.DOT_SEGMENT}),
    ("../x", ["..", "x"], "", {Flag.DOT_SEGMENT}),
    ("..", [".."], "", {Flag.DOT_SEGMENT}),
    ("/a/%2e%2E/b", ["a", "..", "b"], "", {Flag.DOT_SEGMENT}),
    ("/a/.%2e/b", ["a", "..", "b"], "", {Flag.DOT_SEGMENT}),
    ("/a/.../b", ["a", "...", "b"], "", set()),
    ("/.well-known/x", [".well-known", "x"], "", set()),
    ("/a%252Fb", ["a%2Fb"], "", {Flag.DOUBLE_ENCODING}),
    ("/a%252e%252e/b", ["a%2e%2e", "b"], "", {Flag.DOUBLE_ENCODING}),
    ("/100%/x", ["100%", "x"], "", {Flag.BAD_ENCODING}),
    ("/a%zz", ["a%zz"], "", {Flag.BAD_ENCODING}),
    ("/a#b?c=d", ["a"], "c=d", {Flag.BAD_ENCODING}),
    ("/a%00b", ["a\x00b"], "", {Flag.CONTROL_CHARACTER}),
    ("/a%0d%0aSet-Cookie", ["a\r\nSet-Cookie"], "", {Flag.CONTROL_CHARACTER}),
    ("/a\tb", ["a\tb"], "", {Flag.CONTROL_CHARACTER}),
    ("/a%7f", ["a\x7f"], "", {Flag.CONTROL_CHARACTER}),
    ("http://shop.example/a/b?c=d", ["a", "b"], "c=d", {Flag.ABSOLUTE_FORM}),
    ("HTTPS://shop.example", [""], "", {Flag.ABSOLUTE_FORM}),
    ("http://shop.example?c=d", [""], "c=d", {Flag.ABSOLUTE_FORM}),
    ("http://shop.example//admin", ["", "admin"], "", {Flag.ABSOLUTE_FORM, Flag.DOUBLE_SLASH}),
    ("*", ["*"], "", set()),
    ("", [""], "", {Flag.EMPTY_PATH}),
    ("?a=b", [""], "a=b", {Flag.EMPTY_PATH}),
    ("shop.example:443", ["shop.example:443"], "", set()),
    ("/caf%C3%A9", ["caf\u00e9"], "", set()),
    ("/caf\u00e9", ["caf\u00e9"], "", set()),
    ("/a+b", ["a+b"], "", set()),
]


@pytest.mark.parametrize(("target", "segments", "query", "flags"), TARGETS, ids=[repr(target[0]) for target in TARGETS])
def test_split_target(target: str, segments: list[str], query: str, flags: set[Flag]) -> None:
    found: set[Flag] = set()
    split, rest = split_target(target, found)
    assert (segments, query, flags) == ([text for text, _ in split], rest, found)


def test_double_slash_never_loses_a_segment_to_an_authority() -> None:
    assert "admin" in [text for text, _ in split_target("//admin/people", set())[0]]


def test_latin1_segment_is_read_and_marked() -> None:
    assert split_target("/caf%E9", set())[0] == (("caf\u00e9", NOT_UTF8),)


def test_overlong_utf8_is_marked_not_decoded_to_a_dot() -> None:
    ((text, extra),) = split_target("/%c0%ae%c0%ae", set())[0]
    assert "." not in text
    assert extra == NOT_UTF8


def test_too_many_segments_are_bounded_and_flagged() -> None:
    flags: set[Flag] = set()
    segments, _ = split_target("/" + "a/" * 10_000, flags)
    assert len(segments) == MAX_SEGMENTS + 1
    assert Flag.TOO_MANY in flags


def test_too_long_target_is_cut_and_flagged() -> None:
    flags: set[Flag] = set()
    segments, query = split_target("/" + "a" * 2 * MAX_TARGET + "?b=c", flags)
    assert (len(segments[0][0]), query) == (MAX_TARGET - 1, "")
    assert {Flag.TOO_MANY} == flags


@given(st.text(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_target_yields_at_least_one_segment(target: str) -> None:
    flags: set[Flag] = set()
    segments, _ = split_target(target, flags)
    assert 1 <= len(segments) <= MAX_SEGMENTS + 1


@given(st.lists(st.text("ab", max_size=3), min_size=1, max_size=6))
@settings(max_examples=100, deadline=None)
def test_split_is_the_inverse_of_join(parts: list[str]) -> None:
    path = "/" + "/".join(parts)
    assert parts == [text for text, _ in split_target(path, set())[0]]


@pytest.mark.parametrize(
    ("text", "plus", "expected"),
    [
        ("a+b", True, ("a b", 0)),
        ("a+b", False, ("a+b", 0)),
        ("a%2Bb", True, ("a+b", 0)),
        ("%41", False, ("A", 0)),
        ("%2541", False, ("%41", 0)),
        ("%e9", False, ("\u00e9", NOT_UTF8)),
        ("%", False, ("%", 0)),
        ("%4", False, ("%4", 0)),
        ("\udce9", False, ("\u00e9", NOT_UTF8)),
    ],
)
def test_decode_once(text: str, plus: bool, expected: tuple[str, int]) -> None:
    assert expected == decode(text, plus=plus)


@pytest.mark.parametrize(
    ("text", "separator", "pairs"),
    [
        ("", "&", []),
        ("a=1&b=2", "&", [("a", "1"), ("b", "2")]),
        ("a=1&a=2", "&", [("a", "1"), ("a", "2")]),
        ("a", "&", [("a", "")]),
        ("a=", "&", [("a", "")]),
        ("=1", "&", [("", "1")]),
        ("&&a=1&", "&", [("a", "1")]),
        ("a=b=c", "&", [("a", "b=c")]),
        ("a=1;b=2", "&", [("a", "1;b=2")]),
        ("first+name=Jos%C3%A9+Luis", "&", [("first name", "Jos\u00e9 Luis")]),
        ("a=1; b=%20; c", ";", [("a", "1"), ("b", "%20"), ("c", "")]),
        (" ; =x;a=1", ";", [("a", "1")]),
    ],
)
def test_split_pairs(text: str, separator: str, pairs: list[tuple[str, str]]) -> None:
    assert pairs == [(name, value) for name, value, _ in split_pairs(text, separator, set())]


def test_too_many_escapes_are_flagged_and_not_decoded() -> None:
    flags: set[Flag] = set()
    assert (split_pairs("a=" + "%41" * (MAX_ESCAPES + 1), "&", flags), flags) == ([], {Flag.TOO_MANY})


def test_too_many_pairs_are_bounded_and_flagged() -> None:
    flags: set[Flag] = set()
    assert len(split_pairs("a=1&" * 10_000, "&", flags)) == MAX_PAIRS
    assert {Flag.TOO_MANY} == flags
