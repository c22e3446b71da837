"""Since when a workload's calls have been steps of the endpoints that are known now.

A history is only as complete as our watching: while a workload had no model or was switched off, its calls left no steps, and
when its endpoints change, steps made before bear other names. So for as long as a session may last after that, the order of its
calls condemns nobody.
"""

from typing import Final

from authz_server.engine.history import IDLE_SECONDS, Snapshot
from authz_server.engine.model import ReadyModel

__all__ = ["UNKNOWN_PAST", "Gaps"]

UNKNOWN_PAST: Final = Snapshot(-1.0, {}, ())
"""Nobody knows what came before."""
_MAX_WORKLOADS: Final = 1_000
"""Workloads remembered; a name may be the client's word where there is no mutual TLS."""


class Gaps:
    """When each workload was last not watched as it is now. Called by many threads: each entry is replaced as a whole."""

    def __init__(self) -> None:
        self._unwatched: dict[str, float] = {}
        self._known: dict[str, ReadyModel] = {}

    def unwatched(self, workload: str, ts: float) -> None:
        """Take note of a call (seconds since the epoch) that left no step."""
        if workload in self._unwatched or len(self._unwatched) < _MAX_WORKLOADS:
            self._unwatched[workload] = ts

    def lacks(self, workload: str, ready: ReadyModel, ts: float) -> bool:
        """Tell whether a session that goes on now may lack steps."""
        known = self._known.get(workload)
        if known is not ready:
            if known is not None and known.positions.keys() != ready.positions.keys():
                self.unwatched(workload, ts)
            self._known[workload] = ready
        since = self._unwatched.get(workload)
        return since is not None and ts - since < IDLE_SECONDS
