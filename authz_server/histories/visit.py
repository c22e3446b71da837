"""What the Check asks of the callers' histories, whoever keeps them: a Visit in, the caller's past out.

One question a call, so that a shared history costs one round trip.
"""

from typing import Protocol

import msgspec

from authz_server.engine.call import Call
from authz_server.engine.history import Past
from authz_server.engine.pace import Footprint, PaceLimits
from authz_server.engine.record import OutcomeRecord
from authz_server.engine.volume import ReadyVolume

__all__ = ["Histories", "Visit", "join_key", "to_visit"]


class Visit(msgspec.Struct, frozen=True, gc=False):
    """One call as the histories need it: who, when (seconds since the epoch), where, and by what its outcome will be joined.

    `endpoint` is empty where no template matched: it counts for the caller's pace, but isn't a step. `session` is empty where
    there is none: nothing is a step then, and only the paces are counted. `address` is empty where it isn't known, and where it
    is the session. `footprint`: what the call adds to the counters of session, address and workload (`engine/pace.py`); None:
    its workload has no volume model, nothing is counted. `limits`: where no count exceeds them, no paces need be returned.
    """

    decision_id: str
    ts: float
    workload: str
    session: str
    endpoint: str
    join_key: str
    address: str = ""
    footprint: Footprint | None = None
    limits: PaceLimits | None = None


class Histories(Protocol):
    """Keeps what callers did. All methods are called from many threads, and `visit` and `take_back` on the request path."""

    def visit(self, visit: Visit) -> Past | None:
        """Count a call as its caller's next step, and return what came before it; None: nobody can tell, so judge without."""

    def take_back(self, visit: Visit, *, relieves: bool = False) -> None:
        """Undo the step: the call was refused, so nothing came of it. Its pace counts on, and its callers' age begins anew.

        `relieves`: it was refused on its own account, so that it is no load of its workload either, for which others would pay.
        """

    def settle(self, record: OutcomeRecord) -> None:
        """Take note of how a call ended, as any replica's access log stream brings it.

        A step that failed (no answer, 4xx or 5xx) is taken back; an error counts for the pace of session, address and workload.
        """

    def __len__(self) -> int:
        """Count the callers that this process remembers."""


def to_visit(
    call: Call, endpoint: str, decision_id: str, positions: tuple[int, ...] = (), volume: ReadyVolume | None = None
) -> Visit:
    """Make the Visit of a call.

    `positions` of the path parameters of its endpoint; without a volume model its pace isn't counted.
    """
    key = join_key(call.request_id, call.workload, call.method)
    caller = call.caller
    session, address = caller.session, caller.address
    if volume is None:
        return Visit(decision_id, call.ts, call.workload, session, endpoint, key, address if address != session else "")
    return Visit(
        decision_id,
        call.ts,
        call.workload,
        session,
        endpoint,
        key,
        address if address != session else "",
        volume.footprint(call, endpoint, positions),
        volume.limits(caller, call.ts),
    )


def join_key(request_id: str, workload: str, method: str) -> str:
    """Name a call where no decision id is known."""
    return f"{request_id} {workload} {method}"
