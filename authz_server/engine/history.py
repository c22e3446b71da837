"""What each caller did lately: bounded, expiring, time as an argument.

A step is an endpoint that a caller called and that wasn't refused; one that failed (its Outcome says so) is taken back. A history
that began before we watched is incomplete: it condemns nobody (`sequence.py` asks `complete`).
"""

from collections import OrderedDict
from collections.abc import Mapping
from operator import itemgetter
from typing import Final, Protocol

import msgspec

from authz_server.engine.pace import NO_PACES, Paces

__all__ = [
    "IDLE_SECONDS",
    "MAX_CALLERS",
    "MAX_RECENT",
    "MAX_STEPS",
    "NEWCOMERS",
    "CallerHistory",
    "History",
    "Past",
    "Snapshot",
    "add_step",
    "take_back",
]

MAX_CALLERS: Final = 50_000
"""Callers remembered. What one weighs: `python -m bench history`."""
NEWCOMERS: Final = 0.2
"""Share of the callers remembered that is kept for those of whom no step stands yet, or who haven't come back."""
MAX_STEPS: Final = 48
"""Steps remembered in order for each caller."""
MAX_RECENT: Final = 4
"""Endpoints before a call that the sequence model looks at in order."""
IDLE_SECONDS: Final = 1800.0
"""A caller silent for this long starts anew."""

_endpoint_of: Final = itemgetter(1)


class Past(Protocol):
    """What a caller did before a call, as the models read it: a CallerHistory itself, or a Snapshot of one."""

    @property
    def watched(self) -> float:
        """Seconds that we had been watching when the history began: what began later than its silences last is complete."""

    @property
    def ever(self) -> Mapping[str, int]:
        """Each endpoint called since the beginning, with the number of its last step."""

    @property
    def recent(self) -> tuple[str, ...]:
        """The last endpoints, at most `MAX_RECENT`, the latest last; empty at the beginning."""

    @property
    def counts(self) -> Mapping[str, int] | None:
        """How often each endpoint of `ever` was called; None: nobody counted, and no rule about it is judged."""

    @property
    def paces(self) -> Paces:
        """How fast session, address and workload go, the call itself included."""


class Snapshot(msgspec.Struct, frozen=True, gc=False):
    """A Past that stays as it is while the caller goes on."""

    watched: float
    ever: Mapping[str, int]
    recent: tuple[str, ...]
    paces: Paces = NO_PACES
    counts: Mapping[str, int] | None = None


class CallerHistory:
    """One caller's past.

    `steps`: (number, endpoint, number of the same endpoint's step before, -1 for none) of the last ones, in order. `ever`: each
    endpoint since the beginning with the number of its last step; bounded by the number of learned endpoints; `counts`: how often
    each was called. `watched`: seconds that we had been watching when it began; a caller that may be silent for longer could have
    begun before, and its history is then incomplete.
    """

    __slots__ = ("counts", "ever", "next_number", "steps", "touched", "watched")

    def __init__(self, touched: float, watched: float) -> None:
        self.steps: list[tuple[int, str, int]] = []
        self.ever: dict[str, int] = {}
        self.counts: dict[str, int] = {}
        self.next_number = 0
        self.touched = touched
        self.watched = watched

    @property
    def recent(self) -> tuple[str, ...]:
        """The last steps' endpoints, the latest last."""
        return tuple(map(_endpoint_of, self.steps[-MAX_RECENT:]))

    @property
    def paces(self) -> Paces:
        """Nothing: a history alone counts no paces."""
        return NO_PACES


class History:
    """The histories of all callers, keyed by (workload, session), at most `max_callers` of them.

    Whoever invents sessions must not push out those who did something. A caller is a newcomer until it comes back with a step
    that stood; where there is no room, newcomers go first, as long as they are more than `NEWCOMERS` of all. Within each group
    the least recently active goes first.

    Not safe for threads: the owner serialises access. `since` is when watching began, in the same clock as every `now`.
    """

    def __init__(self, since: float, max_callers: int = MAX_CALLERS, idle_seconds: float = IDLE_SECONDS) -> None:
        self._newcomers: OrderedDict[tuple[str, str], CallerHistory] = OrderedDict()
        self._established: OrderedDict[tuple[str, str], CallerHistory] = OrderedDict()
        self._known_since = since
        self._max_callers = max_callers
        self._max_newcomers = max(1, int(max_callers * NEWCOMERS))
        self._idle_seconds = idle_seconds

    def __len__(self) -> int:
        return len(self._newcomers) + len(self._established)

    def caller(self, workload: str, session: str, now: float) -> CallerHistory:
        """Return a caller's history, new if there is none or it fell silent."""
        key = (workload, session)
        group = self._established
        found = group.get(key)
        if found is None:
            group = self._newcomers
            found = group.get(key)
        if found is not None and now - found.touched <= self._idle_seconds:
            if found.ever and group is self._newcomers:
                del group[key]
                self._established[key] = found
            else:
                group.move_to_end(key)
            found.touched = now
            return found
        if found is not None:
            del group[key]
        found = CallerHistory(now, self._idle_seconds if found is not None else now - self._known_since)
        self._newcomers[key] = found
        if len(self) > self._max_callers:
            self._make_room(now)
        return found

    def _make_room(self, now: float) -> None:
        """Forget one caller; from then on those that come may be older than they look, unless there was nothing to forget."""
        silent = next(iter(self._established.values()), None)
        if silent is not None and now - silent.touched > self._idle_seconds:
            self._established.popitem(last=False)
            return
        crowded = len(self._newcomers) > self._max_newcomers
        _, forgotten = (self._newcomers if crowded else self._established).popitem(last=False)
        if forgotten.ever or forgotten.watched < self._idle_seconds:
            self._known_since = max(self._known_since, forgotten.touched)

    def expire(self, now: float) -> int:
        """Forget callers that fell silent; return how many."""
        gone = 0
        for group in (self._newcomers, self._established):
            while group:
                key, oldest = next(iter(group.items()))
                if now - oldest.touched <= self._idle_seconds:
                    break
                del group[key]
                gone += 1
        return gone


def add_step(caller: CallerHistory, endpoint: str) -> int:
    """Append a step; return its number, with which `take_back` finds it."""
    number = caller.next_number
    caller.next_number = number + 1
    ever, counts, steps = caller.ever, caller.counts, caller.steps
    steps.append((number, endpoint, ever.get(endpoint, -1)))
    ever[endpoint] = number
    counts[endpoint] = counts.get(endpoint, 0) + 1
    if len(steps) > MAX_STEPS:
        del steps[0]
    return number


def take_back(caller: CallerHistory, number: int) -> None:
    """Remove a step that failed; also one that others have pushed out of the remembered ones since."""
    for index in range(len(caller.steps) - 1, -1, -1):
        step, endpoint, before = caller.steps[index]
        if step == number:
            del caller.steps[index]
            _forget(caller, number, endpoint, before)
            return
    for endpoint, last in caller.ever.items():
        if last == number:
            # When the one before it was isn't known any more, only that it is older than what is remembered.
            older = max(0, caller.steps[0][0] - 1) if caller.counts[endpoint] > 1 and caller.steps else -1
            _forget(caller, number, endpoint, older)
            return


def _forget(caller: CallerHistory, number: int, endpoint: str, before: int) -> None:
    """Link the endpoint's next step, or `ever`, to the one before, which may be older than the remembered steps."""
    caller.counts[endpoint] -= 1
    for index, (later, name, linked) in enumerate(caller.steps):
        if name == endpoint and linked == number:
            caller.steps[index] = (later, name, before)
            return
    if before >= 0:
        caller.ever[endpoint] = before
    else:
        caller.ever.pop(endpoint, None)
        caller.counts.pop(endpoint, None)
