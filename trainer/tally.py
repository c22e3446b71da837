"""Counting alike observations at once: from columns of numbers to Supports, a sort instead of a step for each call."""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from trainer.batch import Ids
from trainer.support import QUORUM, Support

__all__ = ["Tally", "numbered", "to_counts"]

Item = TypeVar("Item", bound=Hashable)


def to_counts(*columns: Ids) -> Iterator[tuple[int, ...]]:
    """Count alike rows of columns of numbers from 0 up: the distinct rows, each followed by how often it is there."""
    if not len(columns[0]):
        return iter(())
    together, sizes = columns[0], []
    for column in columns[1:]:
        sizes.append(int(column.max()) + 1)
        together = together * sizes[-1] + column
    rows, counts = np.unique(together, return_counts=True)
    found = [counts.tolist()]
    for size in reversed(sizes):
        rows, last = np.divmod(rows, size)
        found.append(last.tolist())
    found.append(rows.tolist())
    return zip(*reversed(found), strict=True)


class Tally:
    """Observations counted: who stands behind each value of each group, in their order.

    `names`: what callers are called, sorted, so that the first ones by name are found; the empty name, if any, is anonymous.
    """

    def __init__(self, windows: Ids, groups: Ids, values: Ids, callers: Ids, names: Sequence[str]) -> None:
        """Count observations, a row of the columns each."""
        width, height = len(names), int(values.max(initial=0)) + 1
        together = (groups * height + values) * width + callers
        order = np.argsort(together)
        heads = _heads(together[order])
        found, who = np.divmod(together[order[heads]], width)
        firsts = _heads(found)
        starts = heads[firsts]
        group, value = np.divmod(found[firsts], height)
        times = np.diff(np.append(heads, len(order)))
        self._names = names
        self._group = group
        self._values: list[int] = value.tolist()
        self._counts: list[int] = np.diff(np.append(starts, len(order))).tolist()
        self._anonymous: list[int] = np.where(who[firsts] == 0, times[firsts], 0).tolist() if not names[0] else [0] * len(firsts)
        self._windows: list[int] = np.bitwise_or.reduceat(1 << windows[order], starts).tolist() if len(starts) else []
        self._callers: list[int] = who.tolist()
        self._firsts: list[int] = np.append(firsts, len(heads)).tolist()

    def __iter__(self) -> Iterator[tuple[int, int, Support]]:
        """Give group, value and Support of each."""
        return zip(self._group.tolist(), self._values, map(self._support, range(len(self._values))), strict=True)

    def by_group(self) -> Iterator[tuple[int, Iterator[tuple[int, Support]]]]:
        """Give group by group the values with their Supports, which are made only as far as they are asked for."""
        starts = _heads(self._group)
        ends = np.append(starts, len(self._group))[1:].tolist()
        for group, start, end in zip(self._group[starts].tolist(), starts.tolist(), ends, strict=True):
            yield group, zip(self._values[start:end], map(self._support, range(start, end)), strict=True)

    def _support(self, row: int) -> Support:
        anonymous = self._anonymous[row]
        first = self._firsts[row] + 1 if anonymous else self._firsts[row]
        callers = self._callers[first : min(self._firsts[row + 1], first + QUORUM)]
        return Support(self._counts[row], anonymous, tuple([self._names[one] for one in callers]), self._windows[row])


def _heads(column: Ids) -> Ids:
    """Tell where something else begins in a sorted column."""
    if not len(column):
        return np.zeros(0, dtype=np.int64)
    return np.flatnonzero(np.concatenate([[True], column[1:] != column[:-1]]))


def numbered(items: Iterable[Item]) -> tuple[Ids, list[Item]]:
    """Number distinct items in the order they come in: the number of each, and the items by number."""
    numbers: dict[Item, int] = {}
    found = [numbers.setdefault(item, len(numbers)) for item in items]
    return np.array(found, dtype=np.int64), list(numbers)
