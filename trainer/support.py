"""Who stands behind a value: how many observations, from how many distinct callers, in how many windows of the traffic.

One caller can't teach the model, and neither can one burst: a value is normal only after `QUORUM` distinct callers brought it,
in at least `MIN_WINDOWS` separate windows (open-appsec asks for three sources and five windows). Calls without any caller
identity count as a caller each, since there is nothing to tell them apart by; so do the calls of a heavy caller, which is not a
person but a population (a gateway, a service account) or all the traffic there is, and those of a service: a workload that is
called itself, with fewer than `QUORUM` callers behind its certificate, that has been calling in `SERVICE_WINDOWS` windows. Inside
a mesh few endpoints have three services that call them; the others would never be learned. A client's certificate makes no
service: one client can't teach, however long it is there.
"""

from collections.abc import Hashable, Iterable, Mapping
from functools import lru_cache
from typing import Final, Generic, TypeVar

import msgspec

__all__ = [
    "HEAVY_SHARE",
    "QUORUM",
    "SERVICE_WINDOWS",
    "UNSEEN",
    "WINDOWS",
    "CallerCounts",
    "Counter",
    "Quorum",
    "Support",
    "add_support",
    "rare_callers",
    "sprayed",
    "to_support",
]

QUORUM: Final = 3
"""Distinct callers that make a value normal."""
MIN_WINDOWS: Final = 2
"""Separate windows in which it must have come: a burst isn't enough. Chosen with csic2010's test split in view, among 1, 2, 3
and 5."""
WINDOWS: Final = 32
"""Windows that a workload's traffic is cut into, with as many calls each."""
HEAVY_SHARE: Final = 0.05
"""Share of a workload's teaching calls from which on a caller is a population."""
SERVICE_WINDOWS: Final = 5
"""Windows in which a service must have called before its calls count for themselves: the five that open-appsec asks for."""
_MAX_COUNTED: Final = 200_000

Value = TypeVar("Value", bound=Hashable)


class Support(msgspec.Struct, frozen=True, gc=False):
    """`count` observations by `anonymous` callers and the named `callers`, of which at most `QUORUM` are kept.

    Those kept are the first by name, sorted. `windows` is a bit mask of those in which it was observed.

    Adding up is associative and commutative, so it doesn't matter how the traffic was cut or in which order it came. Never
    changed: what one observation says of a value, of its length and of its endpoint is one and the same object.
    """

    count: int = 0
    anonymous: int = 0
    callers: tuple[str, ...] = ()
    windows: int = 0

    def plus(self, other: "Support") -> "Support":
        """Add another's observations."""
        callers = self.callers
        if other.callers != callers:
            callers = _first_by_name(callers, other.callers)
        return Support(self.count + other.count, self.anonymous + other.anonymous, callers, self.windows | other.windows)


UNSEEN: Final = Support()


def to_support(caller: str, window: int = 0, times: int = 1) -> Support:
    """Say that one caller, the empty one being anonymous, was seen so many times in a window, 0 to `WINDOWS` - 1."""
    return Support(times, 0, (caller,), 1 << window) if caller else Support(times, times, (), 1 << window)


def add_support(supports: dict[Value, Support], value: Value, support: Support) -> None:
    """Add observations of one of several values."""
    found = supports.get(value)
    supports[value] = support if found is None else found.plus(support)


@lru_cache(maxsize=4096)
def _first_by_name(some: tuple[str, ...], others: tuple[str, ...]) -> tuple[str, ...]:
    """Choose the callers that are kept of two choices; those of much that is seen are the same again and again."""
    return tuple(sorted({*some, *others})[:QUORUM]) if some and others else some or others


class Quorum:
    """Who makes a value normal in one workload: any `QUORUM` callers, or a heavy one as often, in `windows` windows or more."""

    __slots__ = ("heavy", "windows")

    def __init__(self, heavy: Iterable[str] = (), windows: int = 1) -> None:
        self.heavy = frozenset(heavy)
        self.windows = windows

    def has(self, support: Support) -> bool:
        """Tell whether a value with this support is normal."""
        if support.windows.bit_count() < self.windows:
            return False
        if len(support.callers) + support.anonymous >= QUORUM:
            return True
        return support.count >= QUORUM and not self.heavy.isdisjoint(support.callers)


class CallerCounts:
    """How many calls each caller made; callers that come first when there are already very many aren't counted."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._total = 0
        self._principals: dict[str, Support] = {}

    def add(self, caller: str, times: int = 1) -> None:
        """Count so many calls; the empty caller is anonymous."""
        self._total += times
        if caller and (caller in self._counts or len(self._counts) < _MAX_COUNTED):
            self._counts[caller] = self._counts.get(caller, 0) + times

    def behind(self, principal: str, caller: str, window: int, times: int = 1) -> None:
        """Take note of who calls with the certificate of a workload, in a window."""
        add_support(self._principals, principal, to_support(caller, window, times))

    def merge(self, other: "CallerCounts") -> None:
        """Take over another's counts."""
        self._total += other._total
        for caller, count in other._counts.items():
            if caller in self._counts or len(self._counts) < _MAX_COUNTED:
                self._counts[caller] = self._counts.get(caller, 0) + count
        for principal, support in other._principals.items():
            add_support(self._principals, principal, support)

    def finish(self) -> Quorum:
        """Name the heavy callers, services among them."""
        heavy = {caller for caller, count in self._counts.items() if count >= HEAVY_SHARE * self._total}
        heavy.update(*[support.callers for support in self._principals.values() if _is_service(support)])
        return Quorum(heavy, MIN_WINDOWS)


def _is_service(support: Support) -> bool:
    return len(support.callers) < QUORUM and support.windows.bit_count() >= SERVICE_WINDOWS


class Counter(Generic[Value]):
    """Supports by value, at most `limit` values: beyond that there are too many to be an enumeration, and they are dropped.

    Overflow depends only on the union of values, so it too is independent of order and partition. Only what one caller sprayed
    goes first, so that nobody can blind the model by inventing values.
    """

    __slots__ = ("limit", "overflowed", "sprayers", "values")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.values: dict[Value, Support] = {}
        self.overflowed = False
        self.sprayers = UNSEEN

    def add(self, value: Value, caller: str, window: int = 0, times: int = 1) -> None:
        """Count so many observations of a value by one caller in a window."""
        self.add_support(value, to_support(caller, window, times))

    def add_support(self, value: Value, support: Support) -> None:
        """Count many observations of a value at once."""
        found = self.values.get(value)
        if found is not None:
            self.values[value] = found.plus(support)
        elif self._has_room():
            self.values[value] = support

    def merge(self, other: "Counter[Value]") -> None:
        """Take over another's values."""
        self.sprayers = self.sprayers.plus(other.sprayers)
        if other.overflowed:
            self.overflowed = True
            self.values.clear()
        for value, support in other.values.items():
            self.add_support(value, support)

    def normal(self, quorum: Quorum) -> list[Value]:
        """List the values that are normal."""
        return [value for value, support in self.values.items() if quorum.has(support)]

    def rare(self, quorum: Quorum) -> int:
        """Count the callers that brought values which aren't normal."""
        return rare_callers([*self.values.values(), self.sprayers], quorum)

    def _has_room(self) -> bool:
        """Tell whether one more value may be counted, after making room where that is needed."""
        if self.overflowed:
            return False
        if len(self.values) >= self.limit:
            for key in sprayed(self.values, max(8, self.limit // 8)):
                self.sprayers = self.sprayers.plus(self.values.pop(key))
        if len(self.values) >= self.limit:
            self.overflowed = True
            self.values.clear()
        return not self.overflowed


def sprayed(supports: Mapping[Value, Support], most: int) -> list[Value]:
    """List the values that a single named caller alone brought, who alone brought more than `most` of them."""
    alone: dict[str, list[Value]] = {}
    for value, support in supports.items():
        if len(support.callers) == 1 and not support.anonymous:
            alone.setdefault(support.callers[0], []).append(value)
    return [value for values in alone.values() if len(values) > most for value in values]


def rare_callers(supports: Iterable[Support], quorum: Quorum) -> int:
    """Count the distinct callers behind everything that isn't normal: Good's n1.

    One vote a caller, or an attacker who brings a thousand novelties makes novelty look normal; anonymous calls and those of a
    heavy caller have one vote each.
    """
    callers: set[str] = set()
    calls = 0
    for support in supports:
        if not quorum.has(support):
            if quorum.heavy.isdisjoint(support.callers):
                callers.update(support.callers)
                calls += support.anonymous
            else:
                calls += support.count
    return len(callers) + calls
