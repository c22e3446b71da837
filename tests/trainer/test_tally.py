"""Counting alike observations at once says what counting each by itself says."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trainer.support import Support, add_support, to_support
from trainer.tally import Tally, numbered, to_counts

NAMES = ["", "ann", "bob", "cid", "dora", "eve"]
ROWS = st.lists(st.tuples(st.integers(0, 31), st.integers(0, 3), st.integers(0, 4), st.sampled_from(NAMES)), max_size=60)
Row = tuple[int, int, int, str]


def tally(rows: list[Row]) -> Tally:
    names = sorted({row[3] for row in rows}) or [""]
    windows, groups, values = (np.array([row[at] for row in rows], dtype=np.int64) for at in (0, 1, 2))
    return Tally(windows, groups, values, np.array([names.index(row[3]) for row in rows], dtype=np.int64), names)


def said(support: Support) -> tuple[int, int, tuple[str, ...], int]:
    return support.count, support.anonymous, support.callers, support.windows


def one_by_one(rows: list[Row]) -> dict[tuple[int, int], Support]:
    found: dict[tuple[int, int], Support] = {}
    for window, group, value, caller in rows:
        add_support(found, (group, value), to_support(caller, window))
    return found


@given(ROWS)
def test_counting_at_once_equals_counting_one_by_one(rows: list[Row]) -> None:
    expected = {place: said(support) for place, support in sorted(one_by_one(rows).items())}
    assert expected == {(group, value): said(support) for group, value, support in tally(rows)}


@given(ROWS)
def test_group_by_group_is_the_same(rows: list[Row]) -> None:
    whole = [(group, value, said(support)) for group, value, support in tally(rows)]
    parts = [(group, value, said(support)) for group, values in tally(rows).by_group() for value, support in values]
    assert whole == parts


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 5)), max_size=60))
def test_distinct_rows_are_counted(rows: list[tuple[int, int, int]]) -> None:
    columns = [np.array([row[at] for row in rows], dtype=np.int64) for at in range(3)]
    assert sorted(Counter(rows).items()) == [((a, b, c), times) for a, b, c, times in to_counts(*columns)]


def test_items_are_numbered_as_they_come() -> None:
    numbers, items = numbered(["b", "a", "b", "c"])
    assert ([0, 1, 0, 2], ["b", "a", "c"]) == (numbers.tolist(), items)
