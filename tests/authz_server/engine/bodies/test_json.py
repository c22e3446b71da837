"""JSON: keys that a document has twice."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz_server.engine.bodies.json_ import parse, to_leaves
from authz_server.engine.bodies.leaf import child, pointer_part
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
    assert [f"{pointer}/{pointer_part(key)}"] * 2 == [child(pointer, key), child(pointer, key)]
