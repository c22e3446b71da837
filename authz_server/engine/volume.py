"""The volume model: is a caller's pace normal, and is the whole workload's? From Paces to an Excess, and what to tell a caller.

Calls of a caller that goes too fast aren't exchangeable: once it is over its limit every further call is odd. So what is
calibrated are not calls but blocks: a caller's highest count in each hour (`VolumeModel.block`) in which it called. A Level is
a count with the share of normal blocks that reached it. Beyond the highest one ever seen the tail is extrapolated as a power of
the count, the excesses over a high level being exponential in its logarithm (peaks over threshold, Hill 1975; SPOT, Siffer
2017). `Normal.factor` turns a block's share into the promise about calls: that several numbers are watched at once, and that busy
blocks hold more calls than others. Then Bonferroni: over session, address and workload, and between volume and everything else
that a call is judged by, of which volume gets `SHARE`; so the whole stays within the budget.

A caller is held against its own normal where it is one of the heavy ones, else against all callers'. The workload's normal judges
nobody by itself: in a flood those are refused who are new (began lately, while we were watching) or over what their kind
usually does; everybody else is served. A call that is refused for what it is or for its caller's own pace (`Excess.own`) is no
load, so that nobody else pays for it; one that is told and served, as in dry run, is. What it costs per call: `python -m bench
volume`.
"""

import math
from typing import Final

import msgspec

from authz_server.engine.call import Call, Caller
from authz_server.engine.finding import FindingCode, Surprise
from authz_server.engine.pace import (
    METERS,
    NO_PACES,
    Footprint,
    Limits,
    PaceLimits,
    Paces,
    to_bit,
    to_footprint,
    to_limits,
    to_values,
)

__all__ = [
    "MOST_GROWTH",
    "NEW_SECONDS",
    "OFFSET",
    "PACE",
    "QUIET",
    "SHARE",
    "WEEK_HOURS",
    "Excess",
    "Level",
    "Normal",
    "ReadyVolume",
    "Tail",
    "VolumeModel",
    "chance",
    "hour_of_week",
    "level_at",
    "own_key",
    "retry_after",
    "to_surprise",
]

SHARE: Final = 0.2
"""Of the budget, what volume may use up; the rest is for what a call is."""
MOST_GROWTH: Final = 8.0
"""How far a tail is believed: nothing beyond so many times the highest count ever is taken for normal, however little was seen. A
choice, not learned: with few blocks the tail alone would let a caller grow a hundredfold."""
NEW_SECONDS: Final = 1800.0
"""In a flood a caller is new for that long after it began."""
OFFSET: Final = 5.0
"""Added to counts before their ratio is taken: from 0 to 3 errors is not an infinite growth."""
PACE: Final = "pace"
"""Where a Surprise of this model stands, in place of a parameter's location."""
QUIET: Final = 0.05
"""P-values above aren't told, and cost nothing to find out."""
WEEK_HOURS: Final = 168
_LONGEST_FIRST: Final = sorted(range(len(METERS)), key=lambda meter: -METERS[meter].window)
_UNKNOWN_COST: Final = 1.0
_SMALLEST: Final = 1e-12

_CODES: Final = {
    "calls": FindingCode.PACE_CALLS,
    "cost": FindingCode.PACE_COST,
    "errors": FindingCode.PACE_ERRORS,
    "endpoints": FindingCode.PACE_ENDPOINTS,
    "values": FindingCode.PACE_VALUES,
}
_WORDS: Final = {
    "calls": "{} calls in {} s",
    "cost": "calls that cost like {} average ones in {} s",
    "errors": "{} errors in {} s",
    "endpoints": "{} distinct endpoints in {} s",
    "values": "{} distinct values in paths in {} s",
}


class Level(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A count, and the share of blocks that reached it, its standard error added."""

    count: float
    share: float


class Tail(msgspec.Struct, frozen=True, gc=False):
    """The high counts of one meter: levels ascending, the last the highest ever; `scale` of the tail beyond, in ln(count)."""

    levels: tuple[Level, ...]
    scale: float


class Normal(msgspec.Struct, frozen=True, gc=False):
    """What is normal for one kind of callers: a Tail for each of `METERS`, of `blocks` blocks.

    `windows`: how many windows of each meter they hold. `factor`: by what a block's share is multiplied, see above.
    """

    blocks: int
    windows: tuple[int, ...]
    tails: tuple[Tail, ...]
    factor: float


class VolumeModel(msgspec.Struct, frozen=True):
    """What pace is normal in one workload.

    `block` in seconds. `costs`: average calls that a call of an endpoint stands for, by its response bytes and duration. `own`:
    heavy callers' own normals by `own_key`. `week`: how busy each hour of the week is, 1 on average, from Thursday 0:00 UTC, as
    the epoch is; empty: too little history. The workload's tails are of counts divided by it.
    """

    block: float
    costs: dict[str, float]
    sessions: Normal | None = None
    addresses: Normal | None = None
    workload: Normal | None = None
    own: dict[str, Normal] = {}
    week: tuple[float, ...] = ()


class Excess(msgspec.Struct, frozen=True, gc=False):
    """A pace that is odd: its p-value (among all that volume judges, its share taken), and what made it so.

    `counts` of all meters at `ts`, and `meter`, the oddest of them. `whose`, in words, is the `normal` that they are held
    against; `factor` makes a p-value of a block's share. The counts have been divided by `scaled`. `own`: the p-value of the
    caller's own pace, whatever the workload's load.
    """

    p_value: float
    meter: int
    counts: tuple[float, ...]
    ts: float
    whose: str
    normal: Normal
    factor: float
    code: FindingCode
    scaled: float = 1.0
    own: float = 1.0


def chance(tail: Tail, blocks: int, count: float) -> float:
    """Tell the share of blocks that reach `count`; 1 below the lowest level."""
    levels = tail.levels
    if not levels or count <= levels[0].count:
        return 1.0
    peak = levels[-1]
    if count > peak.count:
        growth = (count + OFFSET) / (peak.count + OFFSET)
        return peak.share * float(growth ** (-1 / tail.scale)) if growth <= MOST_GROWTH else _SMALLEST
    below = levels[0]
    for level in levels:
        if count <= level.count:
            break
        below = level
    return min(1.0, max(below.share, 1 / (blocks + 1)))


def level_at(tail: Tail, share: float) -> float:
    """Tell up to which count a chance is above `share`: the inverse of `chance`; infinite where there is no tail."""
    if not tail.levels:
        return math.inf
    peak = tail.levels[-1]
    if share < peak.share:
        return (peak.count + OFFSET) * min(MOST_GROWTH, float((peak.share / share) ** tail.scale)) - OFFSET
    return next(level.count for level in tail.levels if level.share <= share)


def hour_of_week(ts: float) -> int:
    """Number the hour of the week, 0 to 167, from the epoch's Thursday."""
    return int(ts // 3600) % WEEK_HOURS


def own_key(kind: str, digest: str) -> str:
    """Name a heavy caller: `kind` is `session` or `address`."""
    return f"{kind}:{digest}"


class ReadyVolume:
    """A VolumeModel with the counts at which it has to look closer.

    Shared by all threads: nothing in it changes but the limits of the hour, which are replaced as a whole.
    """

    __slots__ = (
        "_addresses",
        "_footprints",
        "_kinds",
        "_own_addresses",
        "_own_sessions",
        "_sessions",
        "_usual",
        "_workload",
        "model",
    )

    def __init__(self, model: VolumeModel) -> None:
        self.model = model
        kinds = (model.sessions, model.addresses, model.workload)
        self._kinds = max(1, sum(normal is not None for normal in kinds))
        self._sessions = self._limits(model.sessions)
        self._addresses = self._limits(model.addresses)
        self._workload = self._limits(model.workload)
        self._own_sessions = self._own(own_key("session", ""))
        self._own_addresses = self._own(own_key("address", ""))
        self._usual = (0, self._of_hour(0))
        self._footprints = {endpoint: Footprint(cost, to_bit(endpoint)) for endpoint, cost in model.costs.items()}

    def cost(self, endpoint: str) -> float:
        """Tell what a call of an endpoint costs, in average calls."""
        return self.model.costs.get(endpoint, _UNKNOWN_COST)

    def footprint(self, call: Call, endpoint: str, positions: tuple[int, ...]) -> Footprint:
        """Tell what a call adds to its caller's counters: `to_footprint`, and cheaper for most calls."""
        known = self._footprints.get(endpoint)
        if known is None:
            return to_footprint(call, endpoint, positions, self.cost(endpoint))
        return known if not positions else Footprint(known.cost, known.endpoint, to_values(call, positions))

    def limits(self, caller: Caller, ts: float) -> PaceLimits:
        """Tell up to which counts `judge` has nothing to tell of a call at `ts`."""
        session, address = self._own_sessions.get(caller.session), self._own_addresses.get(caller.address)
        known, usual = self._usual
        if self.model.week and (hour := hour_of_week(ts)) != known:
            usual = self._of_hour(hour)
            self._usual = (hour, usual)
        if session is None and address is None:
            return usual
        return PaceLimits(session or usual.session, address or usual.address, usual.workload)

    def judge(self, caller: Caller, paces: Paces, ts: float) -> Excess | None:
        """Tell what is odd about the paces of a call at `ts`; None: nothing worth telling."""
        if paces is NO_PACES:
            return None
        found: Excess | None = None
        counts = paces.session.counts
        if counts and _exceeds(counts, self._own_sessions.get(caller.session, self._sessions)):
            own = self.model.own.get(own_key("session", caller.session))
            found = self._worst(counts, own or self.model.sessions, ts, "its callers" if own is None else "itself")
        counts = paces.address.counts
        if counts and _exceeds(counts, self._own_addresses.get(caller.address, self._addresses)):
            own = self.model.own.get(own_key("address", caller.address))
            other = self._worst(counts, own or self.model.addresses, ts, "its addresses" if own is None else "its address")
            if found is None or (other is not None and other.p_value < found.p_value):
                found = other
        counts = paces.workload.counts
        if not counts:
            return found
        level = self.model.week[hour_of_week(ts)] if self.model.week else 1.0
        if level != 1.0:
            counts = tuple([count / level for count in counts])
        if not _exceeds(counts, self._workload) or self._is_usual(caller, paces):
            return found
        flood = self._worst(counts, self.model.workload, ts, "the workload", level)
        if flood is None or (found is not None and found.p_value <= flood.p_value):
            return found
        return msgspec.structs.replace(flood, own=found.p_value if found is not None else 1.0)

    def _of_hour(self, hour: int) -> PaceLimits:
        """Make the limits of callers without a normal of their own, in an hour of the week."""
        level = self.model.week[hour] if self.model.week else 1.0
        return PaceLimits(self._sessions, self._addresses, to_limits([count * level for count in self._workload.counts]))

    def _is_usual(self, caller: Caller, paces: Paces) -> bool:
        """Tell whether a caller is served in a flood: it isn't new, and not over what its kind does in its busier hours."""
        session, address, workload = paces.session, paces.address, paces.workload
        if not session.counts and not address.counts:
            return True
        age = max(session.age if session.counts else 0.0, address.age if address.counts else 0.0)
        if age < NEW_SECONDS and workload.age - age > NEW_SECONDS and not self._is_heavy(caller):
            return False
        model = self.model
        mine = model.own.get(own_key("session", caller.session)) or model.sessions
        theirs = model.own.get(own_key("address", caller.address)) or model.addresses
        return not (_is_over(session.counts, mine) or _is_over(address.counts, theirs))

    def _is_heavy(self, caller: Caller) -> bool:
        return caller.session in self._own_sessions or caller.address in self._own_addresses

    def _own(self, kind: str) -> dict[str, Limits]:
        return {key.removeprefix(kind): self._limits(normal) for key, normal in self.model.own.items() if key.startswith(kind)}

    def _limits(self, normal: Normal | None) -> Limits:
        if normal is None:
            return to_limits((math.inf,) * len(METERS))
        return to_limits([level_at(tail, QUIET / self._factor(normal)) for tail in normal.tails])

    def _factor(self, normal: Normal) -> float:
        return normal.factor * self._kinds / SHARE

    def _worst(
        self, counts: tuple[float, ...], normal: Normal | None, ts: float, whose: str, scaled: float = 1.0
    ) -> Excess | None:
        if normal is None:
            return None
        least, meter = 1.0, 0
        for number, (tail, count) in enumerate(zip(normal.tails, counts, strict=True)):
            if tail.levels and count > tail.levels[0].count:
                share = chance(tail, normal.blocks, count)
                if share < least:
                    least, meter = share, number
        factor = self._factor(normal)
        p_value = min(1.0, least * factor)
        code = FindingCode.PACE_FLOOD if whose == "the workload" else _CODES[METERS[meter].counter]
        return Excess(p_value, meter, counts, ts, whose, normal, factor, code, scaled, p_value)


def _exceeds(counts: tuple[float, ...], limits: Limits) -> bool:
    a, b, c, d, e, f, g = counts
    p, q, r, s, t, u, v = limits.counts
    return a > p or b > q or c > r or d > s or e > t or f > u or g > v


def _is_over(counts: tuple[float, ...], normal: Normal | None) -> bool:
    if normal is None:
        return False
    return any(tail.levels and count > tail.levels[0].count for count, tail in zip(counts, normal.tails, strict=False))


def to_surprise(excess: Excess) -> Surprise:
    """Make a Surprise of an Excess: "812 calls in 10 s; in 48,211 windows of its callers it was at most 64"."""
    amount = -math.log10(max(excess.p_value, 1e-8))
    evidence = excess.normal.windows[excess.meter]
    return Surprise(excess.code, amount, f"{PACE}:{excess.whose}", (_in_words, excess), "", evidence)


def _in_words(excess: Excess) -> tuple[str, str]:
    """Tell what was seen, and what is normal."""
    meter = METERS[excess.meter]
    seen = _WORDS[meter.counter].format(f"{excess.counts[excess.meter] * excess.scaled:,.0f}", f"{meter.window:g}")
    peak = excess.normal.tails[excess.meter].levels[-1].count * excess.scaled
    return seen, f"at most {peak:,.0f}"


def retry_after(excess: Excess, budget: float) -> int:
    """Tell in how many whole seconds, at least 1, all counts are normal again if no call comes until then.

    An upper bound, since how much of a count is the current bucket's isn't known: all of it may be, and then it stays until the
    bucket ends and goes down evenly during the next one. So at most two windows: 20 s, 120 s or 1,200 s.
    """
    longest = 1.0
    share = budget / excess.factor
    for number in _LONGEST_FIRST:
        window, tail, scaled = METERS[number].window, excess.normal.tails[number], excess.counts[number]
        if longest >= 2 * window:
            break
        if not tail.levels or scaled <= tail.levels[0].count:
            continue  # no limit is below the lowest level
        limit = level_at(tail, share)
        if scaled > limit:
            longest = max(longest, window - excess.ts % window + window * (1 - limit / scaled))
    return math.ceil(longest)
