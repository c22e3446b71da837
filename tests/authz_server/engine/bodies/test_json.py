"""JSON: keys that a document has twice."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz_server.engine.bodies.json_ import parse, to_leaves
from authz_server.engine.bodies.leaf import Names, pointer_part
from authz_server.engine.call import Flag

DUPLICATES = [
    b'{"a":1,"a":2}',
    b'{"a":1,"\\u0061":2}',
    b'{"a":1,"a" :2}',
    b'{"a":1,"a"\n:2}',
    b'{"a":1,"a"\t:2,"b":"x:y"}',
    b'[{"b":{"a":1,"c":":","a":2}}]',
    b'{"a":{"b":1},"a":{}}',
    b'{"a":"\\":","a":""}',
    b'{"a":1e5,"a":' + b"9" * 30 + b"}",
]
SINGLES = [
    b'{"a":1,"b":2}',
    b'{"a":"b:c","d":":e","f":" :"}',
    b'{"a":"\\":","b":"\\\\"}',
    b'[{"a":1},{"a":2}]',
    b'{"a" : {"a" : 1}}',
    b'{"":"","a":"::"}',
    b"[]",
    b'":"',
]


@pytest.mark.parametrize("data", DUPLICATES)
def test_key_written_twice_is_flagged(data: bytes) -> None:
    flags: set[Flag] = set()
    to_leaves(parse(data), data, flags)
    assert flags == {Flag.DUPLICATE_KEY}


@pytest.mark.parametrize("data", SINGLES)
def test_colons_in_strings_are_no_keys(data: bytes) -> None:
    flags: set[Flag] = set()
    to_leaves(parse(data), data, flags)
    assert flags == set()


TEXT = st.text('ab:" \\\n', max_size=4)
PAIRS = st.recursive(
    TEXT.map(json.dumps),
    lambda inner: st.tuples(st.lists(st.tuples(TEXT, inner), max_size=3), st.sampled_from([":", " :", ": ", "\n:"])).map(
        lambda made: "{" + ",".join(json.dumps(key) + made[1] + value for key, value in made[0]) + "}"
    ),
    max_leaves=8,
)


@given(PAIRS)
@settings(max_examples=300, deadline=None)
def test_flag_agrees_with_the_standard_library(text: str) -> None:
    repeated = False

    def look(pairs: list[tuple[str, object]]) -> None:
        nonlocal repeated
        repeated = repeated or len(dict(pairs)) < len(pairs)

    json.loads(text, object_pairs_hook=look)
    flags: set[Flag] = set()
    to_leaves(parse(text), text.encode(), flags)
    assert repeated == (Flag.DUPLICATE_KEY in flags)


@pytest.mark.parametrize("pointer", ["", "/items/*", "/very" * 40])
@pytest.mark.parametrize("key", ["id", "", "a/b~c", "7f3e2b1c-0000-4000-8000-000000000000", "k" * 65])
def test_a_child_is_named_alike_seen_before_or_not(pointer: str, key: str) -> None:
    names = Names()
    name = f"{pointer}/{pointer_part(key)}"
    assert name == names.add(pointer, key)
    assert names.below(pointer).get(key, name) == name == names.add(pointer, key)


def test_names_are_known_for_short_keys_only_and_begin_anew_when_there_are_too_many() -> None:
    names = Names()
    names.add("", "k" * 65)
    names.add("/very" * 40, "id")
    assert names.below("") == names.below("/very" * 40) == {}
    held = []
    for n in range(10_000):
        names.add(f"/{n % 9}", f"k{n}")
        held.append(sum(len(names.below(f"/{place}")) for place in range(9)))
    assert max(held) == 4096
    assert names.below(f"/{9_999 % 9}")["k9999"] == f"/{9_999 % 9}/{pointer_part('k9999')}"
