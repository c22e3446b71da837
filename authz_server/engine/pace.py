"""How fast a caller goes: counters of its calls over three sliding windows, pure, with time as an argument.

In: when a call came, and its Footprint (what it adds). Out: Counts, the caller's age and seven numbers, the call itself included.
Live, in the trainer and in a shared history the same numbers are kept, so that what is judged is what was learned.

Calls and their cost are counted in 10 s (a burst: a page with all it loads, a flood) and in 60 s: that is what a backend feels.
In longer windows they would tell how long somebody is busy, not how fast: a contest or a sale is ten times the calls of ten usual
minutes at hardly twice the usual rate. Errors and distinct things are counted in 600 s, since a scan or an enumeration may take
its time, and in a shorter window there are at most as many as calls. A window's count is the current bucket's plus the share of
the one before that the window still covers, as if its calls had come evenly: two numbers a counter instead of a queue, and a
flood is seen as it exceeds, not when its window ends.

Distinct things are counted by a bitmap of `BITS` bits: a bit set for the first time adds BITS / (bits still free), which is
unbiased (Ting 2014, "Streamed approximate counting of distinct elements"). When it is full, at some 1,500, it counts no further,
so callers that normally reach that aren't told apart by it. What was seen in two adjacent buckets counts for each of them.
"""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple
from zlib import crc32

import msgspec

from authz_server.engine.call import Call

__all__ = [
    "BITS",
    "DISTINCT",
    "IDLE_SECONDS",
    "LONG",
    "METERS",
    "MINUTE",
    "NO_COUNTS",
    "NO_PACES",
    "SHORT",
    "CallerPace",
    "Counts",
    "Footprint",
    "Limits",
    "Meter",
    "PaceLimits",
    "Paces",
    "to_bit",
    "to_footprint",
    "to_limits",
    "to_values",
]

SHORT: Final = 10.0
MINUTE: Final = 60.0
LONG: Final = 600.0
"""The windows, in seconds; a bucket begins at every whole multiple of them since the epoch."""
BITS: Final = 256
"""Bits of a bitmap, a power of two."""
IDLE_SECONDS: Final = 1800.0
"""A caller silent for longer begins anew."""


class Meter(NamedTuple):
    """What one of the numbers counts, in how many seconds."""

    counter: str
    window: float


METERS: Final = (
    Meter("calls", SHORT),
    Meter("cost", SHORT),
    Meter("calls", MINUTE),
    Meter("cost", MINUTE),
    Meter("errors", LONG),
    Meter("endpoints", LONG),
    Meter("values", LONG),
)
"""The numbers in their order."""
_BIT: Final = tuple([1 << bit for bit in range(BITS)])
_NOTHING: Final[tuple[float, ...]] = (0.0, 0.0, 0.0)
_HAIR: Final = 1.0 - 1e-9
_NO_ROOM: Final = (0, 0.0, 0.0)
_MOST_ROOM: Final = 1e6
"""So that what is taken off it is never too small to count."""


def _accumulate() -> tuple[float, ...]:
    found = [0.0]
    for bits in range(BITS):
        found.append(found[-1] + BITS / (BITS - bits))
    return tuple(found)


DISTINCT: Final = _accumulate()
"""How many distinct things so many bits set stand for."""


class Footprint(msgspec.Struct, frozen=True, gc=False):
    """What one call adds to its caller's counters.

    `cost` in average calls of its workload. `endpoint` and `values`: bits, 0 to `BITS` - 1, of its endpoint and of the values of
    its path parameters.
    """

    cost: float = 1.0
    endpoint: int = 0
    values: tuple[int, ...] = ()


class Counts(msgspec.Struct, frozen=True, gc=False):
    """What the counters say: the numbers in the order of `METERS`, empty: not counted.

    `age`: seconds since the caller began, or since it was last refused; a caller that keeps being refused stays new.
    """

    age: float
    counts: tuple[float, ...]


NO_COUNTS: Final = Counts(0.0, ())


class Paces(msgspec.Struct, frozen=True, gc=False):
    """The counts of a call's session, of its address where that is known and isn't the session, and of its whole workload."""

    session: Counts = NO_COUNTS
    address: Counts = NO_COUNTS
    workload: Counts = NO_COUNTS


NO_PACES: Final = Paces()


class Limits(msgspec.Struct, frozen=True, gc=False):
    """Up to which counts nothing is worth telling, in the order of `METERS`.

    `near`: the same a hair lower, so that no rounding on the way gets a count past its limit unseen. `room`: how much may be
    added to nothing: calls, cost, and what is counted in the longest window.
    """

    counts: tuple[float, ...]
    near: tuple[float, ...]
    room: tuple[int, float, float]


class PaceLimits(msgspec.Struct, frozen=True, gc=False):
    """The limits of a call's session, of its address and of its whole workload."""

    session: Limits
    address: Limits
    workload: Limits


class CallerPace:
    """The counters of one caller (or of a workload as a whole). What it weighs: `python -m bench volume`.

    For each window the bucket's counts so far and those of the bucket before. Where a bucket begins follows from `_short`, the
    start of the shortest, since each window is a whole multiple of the shorter ones. `_calls`: of the minute, before `_short`;
    `_endpoints`, `_values`: bitmaps.

    By themselves the numbers only go down, so a caller far below its limits need not be looked at for a while. `_calls_room` is
    how far calls were from their limits when somebody last looked, at least, less what each call since has added; `_cost_room`
    and `_long_room` the same of cost, and of errors and distinct things. While none is negative, no number exceeds its limit.
    """

    __slots__ = (
        *("_before", "_calls", "_calls_room", "_cost", "_cost_room", "_endpoints", "_errors", "_first", "_last", "_limits"),
        *("_long_room", "_minute_before", "_short", "_short_before", "_short_calls", "_short_cost", "_values"),
    )

    def __init__(self, ts: float, limits: Limits | None = None) -> None:
        """Begin at `ts`, seconds since the epoch."""
        self._first = ts
        self._last = -math.inf
        self._short = -2 * LONG
        self._short_before = self._minute_before = self._before = _NOTHING
        self._short_calls = self._calls = self._errors = self._endpoints = self._values = 0
        self._short_cost = self._cost = 0.0
        self._limits = limits
        self._calls_room, self._cost_room, self._long_room = limits.room if limits is not None else _NO_ROOM

    def visit(self, ts: float, footprint: Footprint) -> Counts:
        """Count one call and return what the counters say then; a `ts` before the last one counts as the last one."""
        self.add(ts, ts // SHORT * SHORT, footprint)
        return self.counts()

    def add(self, ts: float, short: float, footprint: Footprint, limits: Limits | None = None) -> bool:
        """Count one call, in the 10 s that began at `short`; tell whether a number may exceed its limit.

        A `ts` before the last one counts as the last one.
        """
        if ts >= self._last:
            if short != self._short:
                self._turn(ts, short)
            self._last = ts
        cost = footprint.cost
        self._short_calls += 1
        self._short_cost += cost
        self._cost += cost
        bit = _BIT[footprint.endpoint]
        if not self._endpoints & bit:
            self._long_room -= BITS / (BITS - self._endpoints.bit_count())
            self._endpoints |= bit
        for value in footprint.values:
            bit = _BIT[value]
            if not self._values & bit:
                self._long_room -= BITS / (BITS - self._values.bit_count())
                self._values |= bit
        self._calls_room = calls_room = self._calls_room - 1
        self._cost_room = cost_room = self._cost_room - cost
        return calls_room < 0 or cost_room < 0.0 or self._long_room < 0.0 or limits is not self._limits

    def counts(self) -> Counts:
        """Tell what the counters say at the last call."""
        return Counts(self._last - self._first, self._numbers())

    def look(self, limits: Limits) -> Counts | None:
        """Tell what the counters say where a number exceeds its limit, else None; and for how long nobody need look again."""
        numbers = self._numbers()
        a, b, c, d, e, f, g = numbers
        p, q, r, s, t, u, v = limits.near
        self._limits = limits
        if a > p or b > q or c > r or d > s or e > t or f > u or g > v:
            self._calls_room = -1
            return Counts(self._last - self._first, numbers)
        self._calls_room = int(min(p - a, r - c, _MOST_ROOM))
        self._cost_room = min(q - b, s - d, _MOST_ROOM)
        self._long_room = min(t - e, u - f, v - g, _MOST_ROOM)
        return None

    def _numbers(self) -> tuple[float, ...]:
        ts = self._last
        calls, cost = self._short_calls + 0.0, self._short_cost
        minute_calls, minute_cost = self._calls + calls, self._cost
        errors, endpoints, values = self._errors + 0.0, _distinct(self._endpoints), _distinct(self._values)
        before = self._short_before
        if before is not _NOTHING:
            left = 1.0 - (ts - self._short) / SHORT
            calls += before[0] * left
            cost += before[1] * left
        before = self._minute_before
        if before is not _NOTHING:
            left = 1.0 - ts % MINUTE / MINUTE
            minute_calls += before[0] * left
            minute_cost += before[1] * left
        before = self._before
        if before is not _NOTHING:
            left = 1.0 - ts % LONG / LONG
            errors += before[0] * left
            endpoints += before[1] * left
            values += before[2] * left
        return calls, cost, minute_calls, minute_cost, errors, endpoints, values

    def fail(self, ts: float) -> None:
        """Count an error of the call that came at `ts`, known only now: in the bucket it belongs to, while that is kept."""
        start = self._short // LONG * LONG
        if ts >= start:
            self._errors += 1
        elif ts >= start - LONG:
            errors, endpoints, values = self._before
            self._before = (errors + 1.0, endpoints, values)
        self._long_room -= 1.0

    def is_silent(self, since: float) -> bool:
        """Tell whether no call came since then."""
        return self._last < since

    def refuse(self, ts: float) -> None:
        """Take note that a call was refused: the caller's age counts from here."""
        self._first = ts

    def relieve(self, ts: float, cost: float) -> None:
        """Take off a call of that cost that came at `ts` and burdened nobody; one of an earlier minute stays."""
        if ts >= self._short:
            self._short_calls -= 1
            self._short_cost -= cost
        elif ts >= self._short // MINUTE * MINUTE:
            self._calls -= 1
        else:
            return
        self._cost -= cost

    def _turn(self, ts: float, short: float) -> None:
        """Begin the buckets that `ts` is in: the one so far becomes the one before, or is too old to count."""
        was, self._short = self._short, short
        self._short_before = (self._short_calls, self._short_cost) if was >= short - SHORT else _NOTHING
        self._calls += self._short_calls
        self._short_calls, self._short_cost = 0, 0.0
        start = short // MINUTE * MINUTE
        if was >= start:
            return
        self._minute_before = (self._calls, self._cost) if was >= start - MINUTE else _NOTHING
        self._calls, self._cost = 0, 0.0
        start = short // LONG * LONG
        if was >= start:
            return
        near = was >= start - LONG
        self._before = (self._errors, _distinct(self._endpoints), _distinct(self._values)) if near else _NOTHING
        self._errors = self._endpoints = self._values = 0
        if ts - self._last > IDLE_SECONDS:
            self._first = ts


def _distinct(bits: int) -> float:
    return DISTINCT[bits.bit_count()]


def to_limits(counts: Sequence[float]) -> Limits:
    """Make limits of counts, of which there may be infinite ones."""
    near = tuple([count * _HAIR for count in counts])
    calls, cost, minute_calls, minute_cost, *long = near
    return Limits(tuple(counts), near, (int(min(calls, minute_calls, _MOST_ROOM)), min(cost, minute_cost), min(long)))


def to_footprint(call: Call, endpoint: str, positions: tuple[int, ...], cost: float) -> Footprint:
    """Tell what a call adds; `endpoint` empty: no template matched, so its masked path stands for one.

    Values are told apart by their keyed digests, so nobody can choose them to collide; those without (secrets) aren't counted.
    """
    values = to_values(call, positions) if positions else ()
    return Footprint(cost, to_bit(endpoint or f"{call.method} {call.path}"), values)


def to_bit(endpoint: str) -> int:
    """Tell which bit an endpoint sets."""
    return crc32(endpoint.encode()) % BITS


def to_values(call: Call, positions: tuple[int, ...]) -> tuple[int, ...]:
    """Tell which bits the path parameters of a call set."""
    segments = call.segments
    return tuple([int(digest[:4], 16) % BITS for at in positions if (digest := segments[at].digest)])
