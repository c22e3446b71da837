"""Who is in quarantine: a caller that is refused for a while, because of what one of its calls turned out to be when it was over.

In: Quarantined, our own or another replica's. Out: why a caller is refused. Bounded: of too many the earliest put in are let go.
"""

import time
from collections import OrderedDict
from threading import Lock
from typing import Final

from authz_server.elsewhere import Quarantined
from authz_server.engine.finding import Finding, FindingCode

__all__ = ["Quarantine", "to_quarantined"]

_MAX_QUARANTINED: Final = 10_000


def to_quarantined(session: str, seconds: float, finding: Finding, decision_id: str) -> Quarantined:
    """Put a caller into words: since which decision, and what was found then."""
    text = f"this caller is in quarantine since decision {decision_id}: {finding.text}"
    reason = Finding(FindingCode.QUARANTINE, text, finding.seen, finding.normal, finding.evidence, finding.chance)
    return Quarantined(session, seconds, reason)


class Quarantine:
    """The callers in quarantine. Any thread may `put`; `of` is on the request path and waits for nobody."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._callers: OrderedDict[str, tuple[float, Finding]] = OrderedDict()

    def put(self, quarantined: Quarantined, now: float) -> None:
        """Refuse a caller from now on; one that is in already stays for the new time."""
        session, seconds, finding = quarantined
        with self._lock:
            self._callers[session] = (now + seconds, finding)
            self._callers.move_to_end(session)
            if len(self._callers) > _MAX_QUARANTINED:
                self._callers.popitem(last=False)

    def of(self, session: str, now: float | None = None) -> Finding | None:
        """Tell why a caller is in quarantine, None if it isn't."""
        if not self._callers:
            return None
        until, finding = self._callers.get(session, (0.0, None))
        return finding if (time.monotonic() if now is None else now) < until else None
