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
from collections import OrderedDict
from typing import Final, NamedTuple
from zlib import crc32

import msgspec

from authz_server.engine.call import Call

__all__ = [
    "BITS",
    "IDLE_SECONDS",
    "LONG",
    "MAX_PACES",
    "METERS",
    "MINUTE",
    "NO_COUNTS",
    "NO_PACES",
    "SHORT",
    "CallerPace",
    "Counters",
    "Counts",
    "Footprint",
    "Meter",
    "Paces",
    "to_footprint",
]

SHORT: Final = 10.0
MINUTE: Final = 60.0
LONG: Final = 600.0
"""The windows, in seconds; a bucket begins at every whole multiple of them since the epoch."""
BITS: Final = 256
"""Bits of a bitmap, a power of two."""
IDLE_SECONDS: Final = 1800.0
"""A caller silent for longer begins anew."""
MAX_PACES: Final = 40_000
"""Callers counted, sessions and addresses together; the least recently active goes first."""


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
_BYTES: Final = BITS // 8
_NOTHING: Final[tuple[float, ...]] = (0.0, 0.0, 0.0)


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


class CallerPace:
    """The counters of one caller (or of a workload as a whole). What it weighs: `python -m bench volume`.

    For each window the start of its bucket, the bucket's counts so far, and the counts of the bucket before. Each window is a
    whole multiple of the shorter ones, so its bucket ends only where theirs do.
    """

    __slots__ = (
        *("_before", "_calls", "_cost", "_endpoint_bits", "_endpoints", "_errors", "_first", "_last", "_long", "_minute"),
        *("_minute_before", "_short", "_short_before", "_short_calls", "_short_cost", "_value_bits", "_values"),
    )

    def __init__(self, ts: float) -> None:
        """Begin at `ts`, seconds since the epoch."""
        self._first = ts
        self._last = -math.inf
        self._short = self._minute = self._long = -2 * LONG
        self._short_before = self._minute_before = _NOTHING
        self._short_calls = self._short_cost = 0.0
        self._before = _NOTHING
        self._calls = self._cost = self._errors = self._endpoints = self._values = 0.0
        self._endpoint_bits, self._value_bits = bytearray(_BYTES), bytearray(_BYTES)

    def visit(self, ts: float, footprint: Footprint) -> Counts:
        """Count one call and return what the counters say then; a `ts` before the last one counts as the last one."""
        if ts < self._last:
            ts = self._last
        elif ts >= self._short + SHORT:
            self._turn(ts)
        self._last = ts
        cost, endpoint = footprint.cost, footprint.endpoint
        self._short_calls = short_calls = self._short_calls + 1.0
        self._short_cost = short_cost = self._short_cost + cost
        self._calls = calls = self._calls + 1.0
        self._cost = total = self._cost + cost
        if not self._endpoint_bits[endpoint >> 3] & 1 << (endpoint & 7):
            self._endpoints += _set(self._endpoint_bits, endpoint)
        for value in footprint.values:
            if not self._value_bits[value >> 3] & 1 << (value & 7):
                self._values += _set(self._value_bits, value)
        errors, endpoints, distinct = self._errors, self._endpoints, self._values
        before = self._short_before
        if before is not _NOTHING:
            left = 1.0 - (ts - self._short) / SHORT
            short_calls += before[0] * left
            short_cost += before[1] * left
        before = self._minute_before
        if before is not _NOTHING:
            left = 1.0 - (ts - self._minute) / MINUTE
            calls += before[0] * left
            total += before[1] * left
        before = self._before
        if before is not _NOTHING:
            left = 1.0 - (ts - self._long) / LONG
            errors += before[0] * left
            endpoints += before[1] * left
            distinct += before[2] * left
        return Counts(ts - self._first, (short_calls, short_cost, calls, total, errors, endpoints, distinct))

    def fail(self, ts: float) -> None:
        """Count an error of the call that came at `ts`, known only now: in the bucket it belongs to, while that is kept."""
        if ts >= self._long:
            self._errors += 1.0
        elif ts >= self._long - LONG:
            errors, endpoints, values = self._before
            self._before = (errors + 1.0, endpoints, values)

    def refuse(self, ts: float) -> None:
        """Take note that a call was refused: the caller's age counts from here."""
        self._first = ts

    def _turn(self, ts: float) -> None:
        """Begin the buckets that `ts` is in: the one so far becomes the one before, or is too old to count."""
        if ts - self._last > IDLE_SECONDS:
            self._first = ts
        if ts >= self._minute + MINUTE:
            self._turn_minute(ts)
            if ts >= self._long + LONG:
                self._turn_long(ts)
        start = ts // SHORT * SHORT
        self._short_before = (self._short_calls, self._short_cost) if start - self._short < 1.5 * SHORT else _NOTHING
        self._short, self._short_calls, self._short_cost = start, 0.0, 0.0

    def _turn_minute(self, ts: float) -> None:
        start = ts // MINUTE * MINUTE
        self._minute_before = (self._calls, self._cost) if start - self._minute < 1.5 * MINUTE else _NOTHING
        self._minute, self._calls, self._cost = start, 0.0, 0.0

    def _turn_long(self, ts: float) -> None:
        start = ts // LONG * LONG
        self._before = (self._errors, self._endpoints, self._values) if start - self._long < 1.5 * LONG else _NOTHING
        self._long = start
        self._errors, self._endpoints, self._values = _NOTHING
        self._endpoint_bits, self._value_bits = bytearray(_BYTES), bytearray(_BYTES)


def _set(bits: bytearray, bit: int) -> float:
    """Set a bit that is free; return how many distinct things that stands for."""
    free = BITS - int.from_bytes(bits, "little").bit_count()
    bits[bit >> 3] |= 1 << (bit & 7)
    return BITS / free


def to_footprint(call: Call, endpoint: str, positions: tuple[int, ...], cost: float) -> Footprint:
    """Tell what a call adds; `endpoint` empty: no template matched, so its masked path stands for one.

    Values are told apart by their keyed digests, so nobody can choose them to collide; those without (secrets) aren't counted.
    """
    segments = call.segments
    values = tuple([int(segments[at].digest[:4], 16) % BITS for at in positions if segments[at].digest])
    return Footprint(cost, crc32((endpoint or f"{call.method} {call.path}").encode()) % BITS, values)


class Counters:
    """The paces of all callers, sessions and addresses apart, at most `max_callers`, and of each workload as a whole.

    Not safe for threads: the owner serialises access. The workloads must be bounded by who asks: those with a model.
    """

    def __init__(self, max_callers: int = MAX_PACES) -> None:
        self._callers: OrderedDict[tuple[str, str, bool], CallerPace] = OrderedDict()
        self._workloads: dict[str, CallerPace] = {}
        self._max_callers = max_callers

    def __len__(self) -> int:
        return len(self._callers)

    def visit(self, workload: str, session: str, address: str, ts: float, footprint: Footprint) -> Paces:
        """Count one call for all that it belongs to; an empty session or address counts for nobody."""
        whole = self._workloads.get(workload)
        if whole is None:
            whole = self._workloads[workload] = CallerPace(ts)
        return Paces(
            self._caller((workload, session, True), ts).visit(ts, footprint) if session else NO_COUNTS,
            self._caller((workload, address, False), ts).visit(ts, footprint) if address else NO_COUNTS,
            whole.visit(ts, footprint),
        )

    def fail(self, workload: str, session: str, address: str, ts: float) -> None:
        """Count an error of the call that came at `ts`."""
        whole = self._workloads.get(workload)
        for pace in (whole, *self._known(workload, session, address)):
            if pace is not None:
                pace.fail(ts)

    def refuse(self, workload: str, session: str, address: str, ts: float) -> None:
        """Take note that a call was refused: its callers are new from here on."""
        for pace in self._known(workload, session, address):
            if pace is not None:
                pace.refuse(ts)

    def _known(self, workload: str, session: str, address: str) -> tuple[CallerPace | None, CallerPace | None]:
        return self._callers.get((workload, session, True)), self._callers.get((workload, address, False))

    def _caller(self, key: tuple[str, str, bool], ts: float) -> CallerPace:
        found = self._callers.get(key)
        if found is not None:
            self._callers.move_to_end(key)
            return found
        found = self._callers[key] = CallerPace(ts)
        if len(self._callers) > self._max_callers:
            self._callers.popitem(last=False)
        return found
