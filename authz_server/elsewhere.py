"""What other replicas saw: which calls came under a request id, how calls ended, who is in quarantine.

In: what this replica saw, on the request path, so nothing there waits. Out, once in a while: News. With one replica there is
nobody else (`ALONE`); with several it goes through Redis (`histories/redis_elsewhere.py`).
"""

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from authz_server.engine.finding import Finding
from authz_server.engine.record import OutcomeRecord

__all__ = ["ALONE", "Alone", "Elsewhere", "News", "Quarantined", "Sighting"]


class Sighting(NamedTuple):
    """A call inside the mesh: which workload called what. Endpoint and caller are empty where only its access log entry came."""

    caller: str
    workload: str
    endpoint: str


class Quarantined(NamedTuple):
    """A session that is refused for `seconds` from now, and why."""

    session: str
    seconds: float
    finding: Finding


class News(NamedTuple):
    """What others told.

    `seen`: of each request asked about what came under its id, anywhere. `ended`: how calls ended that this replica expects.
    `age`: all replicas told what they saw until so many seconds ago; infinite: nobody knows.
    """

    seen: Sequence[frozenset[Sighting]]
    ended: Sequence[OutcomeRecord]
    quarantined: Sequence[Quarantined]
    age: float


class Elsewhere(Protocol):
    """Where replicas tell each other what they saw. Any thread may tell; one exchanges."""

    def saw(self, request_id: str, sighting: Sighting) -> None:
        """Tell that a call came."""

    def expects(self, decision_id: str, join_key: str) -> None:
        """Tell that this replica has to know how a call ends."""

    def ended(self, record: OutcomeRecord) -> None:
        """Tell how a call ended that this replica doesn't expect; another may."""

    def quarantine(self, quarantined: Quarantined) -> None:
        """Tell that a session is to be refused."""

    def exchange(self, asked: Sequence[str]) -> News:
        """Bring what was told to the others, and get what they told; `asked`: the request ids to be told of."""


class Alone:
    """There is one replica: nobody saw anything else."""

    def saw(self, request_id: str, sighting: Sighting) -> None:
        """Nobody listens."""

    def expects(self, decision_id: str, join_key: str) -> None:
        """Nobody listens."""

    def ended(self, record: OutcomeRecord) -> None:
        """Nobody listens."""

    def quarantine(self, quarantined: Quarantined) -> None:
        """Nobody listens."""

    def exchange(self, asked: Sequence[str]) -> News:
        """No news."""
        return News((frozenset(),) * len(asked), (), (), 0.0)


ALONE: Final = Alone()
