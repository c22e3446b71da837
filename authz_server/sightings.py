"""What was seen under one request id, and how reliably it is seen that one call follows another."""

from typing import Final

from authz_server.engine.follow import Follow, Place

__all__ = ["REQUEST_SECONDS", "WARM", "Request", "Track"]

REQUEST_SECONDS: Final = 60.0
"""How long a request id is one request; a client that sends an old one again begins a new one."""
WARM: Final = 30
"""Times that something must have followed while this process watched before its absence means anything."""
_RELIABLE: Final = 0.05
"""Share of callers for whom it may have been missing, beyond which we evidently don't see what follows."""
_MAX_TRACKED_CALLERS: Final = 1_000
_HALVED_SECONDS: Final = 300.0
"""How often a track's counts are halved: what was long ago, an attack or an outage, doesn't count for ever."""


class Request:
    """One request id: where it has been, each place with the number of the last sighting, and whose access log told of it."""

    __slots__ = ("_heard", "_number", "_places", "began")

    def __init__(self, began: float) -> None:
        self.began = began
        self._number = 0
        self._places: dict[str, dict[Place, int]] = {}
        self._heard: set[tuple[str, str]] = set()

    def add(self, caller: str, place: Place) -> int:
        """Take note that a workload called a place; return the sighting's number."""
        self._number += 1
        self._places.setdefault(caller, {})[place] = self._number
        return self._number

    def hear(self, workload: str, method: str) -> None:
        """Take note of an access log entry; an empty method is any."""
        self._heard.add((workload, method))

    def caused(self, caller: str, after: int) -> set[Place]:
        """List what a workload called after a sighting: what came before can't have followed it."""
        return {place for place, number in self._places.get(caller, {}).items() if number > after}

    def heard_of(self, follow: Follow) -> bool:
        """Tell whether an access log entry may have been of this call, so that it came without our having been asked."""
        method = follow.endpoint.partition(" ")[0]
        return (follow.workload, method) in self._heard or (follow.workload, "") in self._heard


class Track:
    """How reliably one thing is seen to follow, with the callers for whom it was missing."""

    __slots__ = ("_believed", "_callers", "_halved", "_seen", "_turned")

    def __init__(self) -> None:
        self._seen = 0
        self._callers: set[str] = set()
        self._halved: float | None = None
        self._believed = False
        self._turned = False

    def follow(self, now: float) -> None:
        """Count one time that it followed."""
        self._age(now)
        self._seen += 1

    def lack(self, caller: str, now: float) -> bool:
        """Count one time that it was missing; return whether that is to be believed."""
        self._age(now)
        if len(self._callers) < _MAX_TRACKED_CALLERS:
            self._callers.add(caller)
        believed = self._seen >= WARM and len(self._callers) <= max(1.0, _RELIABLE * self._seen)
        self._turned = self._believed and not believed
        self._believed = believed
        return believed

    def turned(self) -> bool:
        """Tell whether the last time it was missing was the first that isn't believed any more."""
        return self._turned

    def _age(self, now: float) -> None:
        if self._halved is None:
            self._halved = now
        if now - self._halved >= _HALVED_SECONDS:
            self._halved = now
            self._seen = max(min(self._seen, WARM), self._seen // 2)
            self._callers = set(sorted(self._callers)[: len(self._callers) // 2])
