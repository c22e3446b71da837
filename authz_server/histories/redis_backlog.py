"""What Redis is still to be told: outcomes and refusals, and which calls it may not have seen.

Bounded, and worked off by one thread. Whoever answers adds, and never waits. The thread that works it off does again what a
broken connection left undone, which changes nothing the second time.
"""

from collections import deque
from threading import Lock
from typing import Final

from authz_server.histories.redis_errand import Errand, to_amendment
from authz_server.histories.redis_fault import Fault, HistoryFault
from authz_server.histories.redis_link import Link
from authz_server.histories.visit import Visit

__all__ = ["MAX_ERRANDS", "MAX_MISSED", "Backlog"]

MAX_ERRANDS: Final = 20_000
"""Outcomes and refusals that wait for Redis; the oldest goes first, and its step then counts as having succeeded."""
MAX_MISSED: Final = 1_000
"""Calls in doubt that are looked after one by one; beyond that all histories begin anew."""
_BATCH: Final = 100
"""Scripts in one round trip."""


class Backlog:
    """Errands, and missed visits. `joined` and `unknown` count outcomes that found their step and that didn't."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._errands: deque[tuple[Errand, bool]] = deque(maxlen=MAX_ERRANDS)
        self._batch: list[tuple[Errand, bool]] = []
        self._missed: deque[Visit] = deque()
        self._unnamed = 0
        self.joined = 0
        self.unknown = 0
        self.dropped = 0
        self.missed = 0

    def __len__(self) -> int:
        """Count the errands that wait."""
        return len(self._errands) + len(self._batch)

    def send(self, errand: Errand, *, outcome: bool) -> None:
        """Add an errand; `outcome`: its answer says whether a step was found."""
        if len(self._errands) >= MAX_ERRANDS:
            self.dropped += 1
        self._errands.append((errand, outcome))

    def miss(self, visit: Visit) -> None:
        """Add a call that was answered without its history."""
        with self._lock:
            self.missed += 1
            if len(self._missed) < MAX_MISSED:
                self._missed.append(visit)
            else:
                self._unnamed += 1

    @property
    def in_doubt(self) -> bool:
        """Whether there is a caller whose history has a hole that Redis isn't told of yet."""
        return bool(self._unnamed or self._missed)

    @property
    def unnamed(self) -> int:
        """How many more calls were missed than were kept."""
        return self._unnamed

    def forgive(self, unnamed: int) -> None:
        """All histories began anew, after so many were missed that weren't kept."""
        with self._lock:
            self._unnamed -= unnamed

    def look_after(self, link: Link) -> None:
        """Begin the histories anew of those whose calls are in doubt; raises HistoryFault unless it is done.

        Of those that are in doubt by now: calls that go on being missed must not keep Redis from being asked again.
        """
        waiting = len(self._missed)
        while waiting > 0:
            visits = [self._missed[index] for index in range(min(_BATCH, waiting))]
            waiting -= len(visits)
            for answer in link.run_all([to_amendment(visit) for visit in visits]):
                if isinstance(answer, Fault):
                    raise HistoryFault(answer)
            for _ in visits:
                self._missed.popleft()

    def run(self, link: Link) -> None:
        """Run all errands; one that Redis refuses is dropped. Raises HistoryFault where the connection fails."""
        while self._errands or self._batch:
            while self._errands and len(self._batch) < _BATCH:
                self._batch.append(self._errands.popleft())
            answers = link.run_all([errand for errand, _ in self._batch])
            for (_, outcome), answer in zip(self._batch, answers, strict=True):
                if isinstance(answer, Fault):
                    self.dropped += 1
                elif outcome:
                    self.joined += answer
                    self.unknown += 1 - answer
            self._batch.clear()
