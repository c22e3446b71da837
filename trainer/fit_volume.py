"""From records in time order to the volume model of one workload (fits `engine/volume.py`).

The same counters run as in the server (`engine/pace.py`), over every call that may calibrate, with errors as their outcomes say.
Of each caller's block of time the highest counts are kept; a bounded, fair sample of blocks stands for all of them, and the
highest count ever is kept beside. Heavy callers (`endpoint_cost.py`) that come back have a normal of their own, and don't stretch
everybody else's.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b
from heapq import heappush, heapreplace
from math import log, sqrt
from struct import Struct
from typing import Final, NamedTuple

import msgspec

from authz_server.engine.call import Call
from authz_server.engine.counters import Counters
from authz_server.engine.endpoint import path_parameters
from authz_server.engine.pace import LONG, METERS, MINUTE, SHORT, Footprint, to_footprint
from authz_server.engine.record import CallRecord
from authz_server.engine.volume import OFFSET, WEEK_HOURS, Level, Normal, Tail, VolumeModel, hour_of_week, own_key
from trainer.endpoint_cost import CostLearner

__all__ = ["VolumeLearner", "to_normal", "to_tail"]

_MIN_OWN: Final = 2
"""Blocks that a heavy caller must have, that is, it came back; few of them make for a generous normal."""
_MIN_BLOCKS: Final = 20
"""Blocks that the normal of all callers needs."""
_FILLED: Final = 3
"""Times a window must have filled before anything is known of it: counters begin empty, so ten minutes say how far those of the
longest window had come, not what is usual. The shortest one is always known: or else nothing would hold a flood off in the first
half minute. Of callers that stay for a third of the time at most, and so were seen come and go, all windows are."""
_MIN_HOURS: Final = 24
"""Blocks that the workload's needs."""
_MAX_SAMPLE: Final = 20_000
"""Blocks kept of each kind of callers."""
_MAX_COUNTED: Final = 200_000
"""Callers counted, and blocks open at a time; those that come first when there are already very many aren't."""
_GATHERED: Final = 64
"""Counts of calls that are gathered before the highest are found."""
_BLOCK: Final = 3600.0
_SHORTEST_BLOCK: Final = 600.0
_BLOCKS: Final = 100
"""A history of less than so many hours is cut finer, down to 10 minutes, so that there is something to compare."""
_WALL_CLOCK: Final = 946_684_800.0
"""Times before the year 2000 are no clock's: files without times are numbered in seconds."""
_LEVELS: Final = (0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)
"""Shares of blocks at which a Tail has a Level."""
_LEAST_SCALE: Final = 0.1
_MOST_SCALE: Final = 0.4
"""Bounds of a tail's scale. A power tail of index 2.5: beyond that nothing would ever be too much."""
_PRIOR: Final = (3.0, 0.3)
"""Excesses that every tail is taken to have had before, and their mean."""
_FACTOR: Final = (1.0, 20.0)
_WEEKS: Final = 3
"""Weeks of history that a profile of the week needs."""
_DAY: Final = 86_400.0
_WINDOWS: Final = (SHORT, MINUTE, LONG)
_LOAD: Final = frozenset({"calls", "cost"})
"""What a workload as a whole is judged by: what its backend feels. That others make errors or try much is no reason to refuse who
is new; whoever does it is judged by its own counts."""
_NO_TAIL: Final = Tail((), 0.0)


class _Block(NamedTuple):
    """One caller's block: its highest counts, how many calls, windows of each length in which it called, whose, since when.

    `stay`: how many seconds of it passed from its first call to its last one, about.
    """

    counts: tuple[float, ...]
    calls: int
    windows: tuple[int, ...]
    key: str
    ts: float
    stay: float

    @property
    def day(self) -> tuple[str, int]:
        """Whose day it is of."""
        return self.key, int(self.ts // _DAY)


_Kept = tuple[int, str, float, int, bytes]
"""A block as it is kept, at half its weight: its hash, whose, since when, calls, and `_NUMBERS`."""
_NUMBERS: Final = Struct(f"{len(METERS)}d{len(_WINDOWS)}qd")
"""A block's counts, windows and stay."""


class _Open:
    """A block that goes on. The counts of its calls are gathered, since the highest of many are found at once."""

    __slots__ = ("calls", "current", "gathered", "ts", "windows")

    def __init__(self, ts: float) -> None:
        self.gathered: list[tuple[float, ...]] = []
        self.calls = 0
        self.windows = [0] * len(_WINDOWS)
        self.current = [-1.0] * len(_WINDOWS)
        self.ts = ts

    def update(self, counts: tuple[float, ...], ts: float) -> None:
        self.gathered.append(counts)
        if len(self.gathered) >= _GATHERED:
            self.gathered = [self._highest()]
        self.calls += 1
        if ts // SHORT != self.current[0]:  # the others are multiples of it, so they end only where it does
            self._turn(ts)

    def _turn(self, ts: float) -> None:
        for number, width in enumerate(_WINDOWS):
            if ts // width != self.current[number]:
                self.current[number] = ts // width
                self.windows[number] += 1

    def _highest(self) -> tuple[float, ...]:
        return tuple(map(max, zip(*self.gathered, strict=True)))

    def close(self, key: str) -> _Block:
        stay = max(0.0, self.current[0] * SHORT - self.ts)
        return _Block(self._highest(), self.calls, tuple(self.windows), key, self.ts, stay)


class _Blocks:
    """The blocks of one kind of callers: a fair sample by hash, the highest counts of all, and how many windows there were."""

    def __init__(self, most: int = _MAX_SAMPLE) -> None:
        self._most = most
        self._heap: list[_Kept] = []
        self.windows = [0] * len(_WINDOWS)
        self.peaks = [0.0] * len(METERS)

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, block: _Block) -> None:
        self.windows = [a + b for a, b in zip(self.windows, block.windows, strict=True)]
        self.peaks = [max(b, a) for a, b in zip(self.peaks, block.counts, strict=True)]
        name = f"{block.key} {block.ts}"
        rank = -int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big")
        if len(self._heap) < self._most:
            heappush(self._heap, _packed(rank, block))
        elif rank > self._heap[0][0]:
            heapreplace(self._heap, _packed(rank, block))

    def sample(self) -> list[_Block]:
        """List the blocks kept, in an order that doesn't depend on the calls'."""
        return [_unpacked(kept) for kept in sorted(self._heap)]


def _packed(rank: int, block: _Block) -> _Kept:
    return rank, block.key, block.ts, block.calls, _NUMBERS.pack(*block.counts, *block.windows, block.stay)


def _unpacked(kept: _Kept) -> _Block:
    _, key, ts, calls, packed = kept
    numbers = _NUMBERS.unpack(packed)
    return _Block(numbers[: len(METERS)], calls, numbers[len(METERS) : -1], key, ts, numbers[-1])


class VolumeLearner:
    """Runs the counters over one workload's calls, in time order, and keeps what was highest."""

    def __init__(self, costs: CostLearner, first_ts: float, last_ts: float) -> None:
        self._costs = costs.finish()
        self._heavy = costs.heavy()
        self._counters = Counters()
        span = last_ts - first_ts
        self._block = min(_BLOCK, max(_SHORTEST_BLOCK, span / _BLOCKS // _SHORTEST_BLOCK * _SHORTEST_BLOCK))
        self._clock = first_ts >= _WALL_CLOCK
        self._known = span / _FILLED
        self._weeks = span / (WEEK_HOURS * 3600.0)
        self._now = -1.0
        self._open: dict[tuple[str, str], _Open] = {}
        self._kinds = {"session": _Blocks(), "address": _Blocks(), "workload": _Blocks()}
        self._own: dict[str, _Blocks] = {}

    def update(self, record: CallRecord, call: Call, endpoint: str) -> None:
        """Count one call that may calibrate, at an endpoint or, empty, at none."""
        if self.counts:
            footprint = self.footprint(call, endpoint)
            self.visit(record.workload, record.session, record.address, record.ts, footprint, record.status)

    @property
    def counts(self) -> bool:
        """Whether calls have times, without which nothing can be learned."""
        return self._clock

    def footprint(self, call: Call, endpoint: str) -> Footprint:
        """Tell what a call adds, which follows from its method and path, and its endpoint, empty for none."""
        return to_footprint(call, endpoint, _positions(endpoint), self._costs.get(endpoint, 1.0))

    def visit(self, workload: str, session: str, address: str, ts: float, footprint: Footprint, status: int | None) -> None:
        """Count one call that may calibrate, where calls have times."""
        if ts // self._block != self._now:
            self._close()
            self._counters.expire(ts - 2 * LONG)
            self._now = ts // self._block
        if address == session:
            address = ""
        paces = self._counters.visit(workload, session, address, ts, footprint)
        if status is not None and not 100 <= status < 400:
            self._counters.fail(workload, session, address, ts)
        if session:
            self._note(("session", session), paces.session.counts, ts)
        if address:
            self._note(("address", address), paces.address.counts, ts)
        self._note(("workload", ""), paces.workload.counts, ts)

    def finish(self) -> VolumeModel | None:
        """Make the model; None where calls have no times, or callers no names, or there are too few blocks."""
        self._close()
        self._counters = Counters()
        own = {key: normal for key, blocks in sorted(self._own.items()) if (normal := self._normal(blocks, _MIN_OWN)) is not None}
        sessions, addresses = (self._pooled(kind) for kind in ("session", "address"))
        if sessions is None and addresses is None and not own:
            return None
        week: tuple[float, ...] = ()
        blocks = self._kinds["workload"]
        if self._weeks >= _WEEKS:
            week = _week(blocks.sample())
            blocks = _divided(blocks, week)
        workload = self._normal(blocks, _MIN_HOURS)
        if workload is None:
            return VolumeModel(self._block, self._costs, sessions, addresses, None, own)
        return VolumeModel(self._block, self._costs, sessions, addresses, _of_load(workload), own, week)

    def _pooled(self, kind: str) -> Normal | None:
        """Make the normal of all callers but the heavy ones; where there are hardly any others, of those too."""
        found = self._normal(self._kinds[kind], _MIN_BLOCKS)
        if found is not None:
            return found
        everybody = _Blocks()
        for key, blocks in self._own.items():
            if key.startswith(f"{kind}:"):
                for block in blocks.sample():
                    everybody.add(block)
        for block in self._kinds[kind].sample():
            everybody.add(block)
        return self._normal(everybody, _MIN_BLOCKS)

    def _normal(self, blocks: _Blocks, least: int) -> Normal | None:
        """Make a normal of enough blocks, with the tails of windows that are known."""
        if len(blocks) < least:
            return None
        sample = blocks.sample()
        normal = to_normal(sample, blocks.windows, blocks.peaks)
        if sum(block.stay * block.calls for block in sample) <= self._known * sum(block.calls for block in sample):
            return normal
        longest = max(SHORT, self._known)
        tails = [tail if meter.window <= longest else _NO_TAIL for meter, tail in zip(METERS, normal.tails, strict=True)]
        return msgspec.structs.replace(normal, tails=tuple(tails))

    def _note(self, key: tuple[str, str], counts: tuple[float, ...], ts: float) -> None:
        block = self._open.get(key)
        if block is None:
            if len(self._open) >= _MAX_COUNTED:
                return
            block = self._open[key] = _Open(ts)
        block.update(counts, ts)

    def _close(self) -> None:
        for (kind, who), block in self._open.items():
            key = own_key(kind, who)
            heavy = key in self._heavy
            blocks = self._own.setdefault(key, _Blocks(_MAX_SAMPLE // 10)) if heavy else self._kinds[kind]
            blocks.add(block.close(key))
        self._open.clear()


def to_normal(blocks: Sequence[_Block], windows: Sequence[int], peaks: Sequence[float]) -> Normal:
    """Make a normal of blocks, which must not be none."""
    tails = []
    for meter in range(len(METERS)):
        ordered = sorted(blocks, key=lambda block, meter=meter: block.counts[meter], reverse=True)  # type: ignore[misc]
        days = [block.day for block in ordered]
        tails.append(to_tail([block.counts[meter] for block in ordered], days, peaks[meter]))
    spans = tuple([windows[_WINDOWS.index(meter.window)] for meter in METERS])
    return Normal(len(blocks), spans, tuple(tails), _factor(blocks, tails))


def to_tail(counts: Sequence[float], days: Sequence[object], peak: float = 0.0) -> Tail:
    """Fit the high end of `counts`, in descending order; `days`: whose day each is of, `peak`: the highest, if not among them.

    The scale is the mean excess over the count that a tenth of the blocks exceed (Hill 1975), or over that which a fiftieth do,
    if more; with a standard error added, for which blocks of one caller's day count once, since a burst goes on for hours.
    """
    n = len(counts)
    highest = max(peak, counts[0])
    levels: list[Level] = []
    for share in _LEVELS:
        rank = int(share * n)
        if rank >= 1 and (not levels or counts[rank] > levels[-1].count):
            levels.append(Level(round(counts[rank], 3), _with_error(rank, n)))
    levels = [level for level in levels if level.count < highest]
    levels.append(Level(round(highest, 3), _with_error(1, n)))
    scales = [_excess(counts, days, rank) for rank in (max(n // 10, min(10, n // 2)), n // 50) if rank >= min(10, n // 2) > 0]
    scale = max([_LEAST_SCALE, 0.5 / sqrt(highest + 1), *scales])
    return Tail(tuple(levels), round(min(scale, _MOST_SCALE), 4))


def _excess(counts: Sequence[float], days: Sequence[object], rank: int) -> float:
    over = log(counts[rank] + OFFSET)
    weight, mean = _PRIOR
    found = (sum(log(count + OFFSET) - over for count in counts[:rank]) + weight * mean) / (rank + weight)
    return found * (1 + 1 / sqrt(len(set(days[:rank])) + weight))


def _with_error(rank: int, n: int) -> float:
    return min(1.0, round((1 + rank + sqrt(rank)) / (n + 1), 8))


def _factor(blocks: Sequence[_Block], tails: Sequence[Tail]) -> float:
    """Tell by what a block's share is multiplied: numbers watched at once, and calls refused in a block over its limit.

    How many numbers count as independent is how many times more blocks exceed any one's lowest level than a tenth of them. Of a
    block over its limit the calls beyond the limit are refused: with a power tail, `scale` of them on average.
    """
    n = len(blocks)
    over = sum(any(count > tail.levels[0].count for count, tail in zip(block.counts, tails, strict=True)) for block in blocks)
    views = max(1.0, over / max(1.0, 0.1 * n))
    busiest = sorted((block.calls for block in blocks), reverse=True)[: max(1, n // 50)]
    weight = sum(busiest) / len(busiest) / (sum(block.calls for block in blocks) / n)
    refused = max(tail.scale for tail in tails) * weight
    return round(min(views, float(len(METERS))) * min(max(refused, _FACTOR[0]), _FACTOR[1]), 3)


def _of_load(normal: Normal) -> Normal:
    """Keep the tails of what a workload is judged by; the factor stays that of all numbers, which errs on the side of serving."""
    tails = [tail if meter.counter in _LOAD else _NO_TAIL for meter, tail in zip(METERS, normal.tails, strict=True)]
    return msgspec.structs.replace(normal, tails=tuple(tails))


def _week(blocks: Iterable[_Block]) -> tuple[float, ...]:
    """Tell how busy each hour of the week is, 1 on average: mean calls, smoothed over the hours beside, half taken as average.

    A night without any calls isn't a reason to refuse the first one, so no hour counts for less than a quarter.
    """
    total = [0.0] * WEEK_HOURS
    seen = [0] * WEEK_HOURS
    for block in blocks:
        hour = hour_of_week(block.ts)
        total[hour] += block.calls
        seen[hour] += 1
    mean = sum(total) / max(1, sum(seen))
    levels = [(total[hour] + 2 * mean) / (seen[hour] + 2) / mean for hour in range(WEEK_HOURS)]
    smooth = [0.25 * levels[hour - 1] + 0.5 * levels[hour] + 0.25 * levels[(hour + 1) % WEEK_HOURS] for hour in range(WEEK_HOURS)]
    return tuple([round(max(0.25, level), 4) for level in smooth])


def _divided(blocks: _Blocks, week: Sequence[float]) -> _Blocks:
    found = _Blocks()
    for block in blocks.sample():
        level = week[hour_of_week(block.ts)]
        found.add(block._replace(counts=tuple([count / level for count in block.counts])))
    found.windows = blocks.windows
    return found


@lru_cache(maxsize=4096)
def _positions(endpoint: str) -> tuple[int, ...]:
    return path_parameters(endpoint)
