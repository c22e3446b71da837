"""The paces of all callers of all workloads: bounded, the least recently active goes first. Pure, with time as an argument.

In: who called, when, and the call's Footprint. Out: Paces; or, where limits are given, only those worth judging, since for nearly
all calls nothing is. What it costs, and what a caller weighs: `python -m bench volume`.
"""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

import msgspec

from authz_server.engine.pace import (
    BITS,
    DISTINCT,
    NO_COUNTS,
    NO_PACES,
    SHORT,
    CallerPace,
    Counts,
    Footprint,
    Limits,
    PaceLimits,
    Paces,
)

__all__ = ["MAX_PACES", "Counters"]

MAX_PACES: Final = 40_000
"""Callers counted, sessions and addresses together."""

_Key = tuple[str, str, bool]
"""Workload, session or address, and which of them."""


class _Once(msgspec.Struct, gc=False):
    """A caller that came once: all that its counters say follows from that, at a fifth of their weight."""

    ts: float
    footprint: Footprint
    errors: int = 0

    def to_pace(self, limits: Limits | None = None) -> CallerPace:
        """Make the counters of it."""
        pace = CallerPace(self.ts, limits)
        pace.add(self.ts, self.ts // SHORT * SHORT, self.footprint)
        for _ in range(self.errors):
            pace.fail(self.ts)
        return pace

    def within(self, limits: Limits) -> bool:
        """Tell whether no number exceeds its limit, to be on the safe side."""
        calls, cost, long = limits.room
        mine = self.footprint
        return calls >= 1 and mine.cost <= cost and DISTINCT[min(len(mine.values), BITS)] <= long and long >= 1.0

    def counts(self) -> Counts:
        """As CallerPace has it."""
        cost = self.footprint.cost
        values = DISTINCT[len(set(self.footprint.values))]
        return Counts(0.0, (1.0, cost, 1.0, cost, float(self.errors), 1.0, values))

    def look(self, limits: Limits) -> Counts | None:
        """As CallerPace has it."""
        return None if self.within(limits) else self.counts()

    def fail(self, _ts: float) -> None:
        """Count an error of its call."""
        self.errors += 1

    def is_silent(self, since: float) -> bool:
        """As CallerPace has it."""
        return self.ts < since

    def refuse(self, ts: float) -> None:
        """Take note that its call was refused: its age counts from there anyway."""


class Counters:
    """The paces of all callers, sessions and addresses apart, at most `max_callers`, and of each workload as a whole.

    Not safe for threads: the owner serialises access. The workloads must be bounded by who asks: those with a model.
    """

    def __init__(self, max_callers: int = MAX_PACES) -> None:
        self._callers: OrderedDict[_Key, CallerPace | _Once] = OrderedDict()
        self._workloads: dict[str, CallerPace] = {}
        self._max_callers = max_callers

    def __len__(self) -> int:
        return len(self._callers)

    def visit(
        self, workload: str, session: str, address: str, ts: float, footprint: Footprint, limits: PaceLimits | None = None
    ) -> Paces:
        """Count one call for all that it belongs to, and tell what the counters say; an empty session or address is nobody.

        With `limits` that is told only where a number exceeds its limit; else NO_PACES, which is several times cheaper.
        """
        short = ts // SHORT * SHORT
        whole = self._workloads.get(workload)
        if whole is None:
            whole = self._workloads[workload] = CallerPace(ts)
        if limits is None:
            whole.add(ts, short, footprint)
            mine = self._add((workload, session, True), ts, short, footprint, None) if session else None
            theirs = self._add((workload, address, False), ts, short, footprint, None) if address else None
            return Paces(mine.counts() if mine else NO_COUNTS, theirs.counts() if theirs else NO_COUNTS, whole.counts())
        near = whole.add(ts, short, footprint, limits.workload)
        mine = self._add((workload, session, True), ts, short, footprint, limits.session) if session else None
        theirs = self._add((workload, address, False), ts, short, footprint, limits.address) if address else None
        if mine is None and theirs is None and not near:
            return NO_PACES
        my_counts = mine.look(limits.session) if mine is not None else None
        their_counts = theirs.look(limits.address) if theirs is not None else None
        counts = whole.look(limits.workload) if near else None
        if my_counts is None and their_counts is None and counts is None:
            return NO_PACES
        if my_counts is None and session:
            my_counts = self._callers[workload, session, True].counts()
        if their_counts is None and address:
            their_counts = self._callers[workload, address, False].counts()
        return Paces(my_counts or NO_COUNTS, their_counts or NO_COUNTS, counts or whole.counts())

    def fail(self, workload: str, session: str, address: str, ts: float) -> None:
        """Count an error of the call that came at `ts`."""
        whole = self._workloads.get(workload)
        if whole is not None:
            whole.fail(ts)
        for pace in self._known(workload, session, address, ts):
            pace.fail(ts)

    def expire(self, since: float) -> None:
        """Forget callers that made no call since then: two of the longest windows later only their age is left of them."""
        while self._callers and next(iter(self._callers.values())).is_silent(since):
            self._callers.popitem(last=False)

    def refuse(self, workload: str, session: str, address: str, ts: float, relief: float | None = None) -> None:
        """Take note that a call was refused: its callers are new from here on.

        `relief`: what it would have cost, where it was refused on its own account and so burdens the workload no more; None: it
        was refused because of the load.
        """
        for pace in self._known(workload, session, address, ts):
            pace.refuse(ts)
        whole = self._workloads.get(workload)
        if whole is not None and relief is not None:
            whole.relieve(ts, relief)

    def _known(self, workload: str, session: str, address: str, ts: float) -> Iterator[CallerPace | _Once]:
        """Go through what is known of the callers of a call that came at `ts`."""
        for key in ((workload, session, True), (workload, address, False)):
            found = self._callers.get(key)
            if isinstance(found, _Once) and found.ts != ts:
                found = self._callers[key] = found.to_pace()
            if found is not None:
                yield found

    def _add(self, key: _Key, ts: float, short: float, footprint: Footprint, limits: Limits | None) -> CallerPace | _Once | None:
        """Count one call of a caller; return its counters where a number may exceed its limit, or where there are none."""
        callers = self._callers
        found = callers.get(key)
        if found is None:
            found = callers[key] = _Once(ts, footprint)
            if len(callers) > self._max_callers:
                callers.popitem(last=False)
            return None if limits is not None and found.within(limits) else found
        callers.move_to_end(key)
        if isinstance(found, _Once):
            found = callers[key] = found.to_pace(limits)
        return found if found.add(ts, short, footprint, limits) or limits is None else None
