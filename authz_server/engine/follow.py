"""What must follow: the calls inside the mesh that a call to an endpoint always causes, by how it ended.

"Every cart call that succeeds is recorded at audit." A call after which that doesn't come took a way around it. It can only be
told when the call is over, so it refuses nothing by itself: it is an alert, and grounds for a quarantine.

Where an endpoint does several things (one that serves all pages), little follows always; then what follows is told by what else
the call caused: "if it asked for the cart, it asked for the prices".
"""

from collections.abc import Collection

import msgspec

from authz_server.engine.finding import FindingCode, Surprise

__all__ = ["Follow", "Follows", "Place", "applies", "missing", "outcome_class", "to_surprise", "told"]

Place = tuple[str, str]
"""A workload and one of its endpoints."""


class Follow(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A call that comes after: to which endpoint of which workload.

    `given`: only where the call also caused all of these; empty: always. `n` calls were such, `surprise` is -log10 of the chance
    that a normal one isn't followed so.
    """

    workload: str
    endpoint: str
    n: int
    surprise: float
    given: tuple[Place, ...] = ()


Follows = dict[str, dict[str, tuple[Follow, ...]]]
"""What follows, by endpoint and by `outcome_class`."""


def outcome_class(status: int) -> str:
    """Tell how a call ended, as far as what follows depends on it; empty where there was no answer or nobody told.

    >>> outcome_class(201), outcome_class(0)
    ('2xx', '')
    """
    return f"{status // 100}xx" if 100 <= status < 600 else ""


def applies(follow: Follow, seen: Collection[Place]) -> bool:
    """Tell whether a rule says anything about a call that caused all that was `seen`."""
    return all(place in seen for place in follow.given)


def told(places: Collection[Place]) -> str:
    """Name places: "GET /stock at shop/stock and GET /ads at shop/ads"."""
    return " and ".join(f"{endpoint} at {workload}" for workload, endpoint in places)


def missing(follows: Collection[Follow], seen: Collection[Place]) -> list[Follow]:
    """List what should have followed and didn't, the most surprising first."""
    gone = [follow for follow in follows if (follow.workload, follow.endpoint) not in seen and applies(follow, seen)]
    return sorted(gone, key=lambda follow: (-follow.surprise, follow.workload, follow.endpoint))


def to_surprise(endpoint: str, follow: Follow) -> Surprise:
    """Tell what is missing as any other odd thing."""
    expected = f"{follow.endpoint} at {follow.workload}"
    given = f" with {told(follow.given)}" if follow.given else ""
    return Surprise(
        FindingCode.MISSING_CALL,
        follow.surprise,
        "",
        f"{endpoint}{given} was not followed by {expected}",
        f"{expected} followed",
        follow.n,
    )
