"""A seeded shop, as CheckRequests: what the bench trains on and what it sends. Needs no Envoy, no network and no earlier run.

In: a seed, a phase and a size. Out: Checks in time order. People and their visits are the demo's (`demo/plans.py`), and so are
the calls that they cause inside the mesh; how each looks is `messages.py`'s.
"""

import heapq
import json
import random
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest

from authz_server.engine.canonical import RawCall
from authz_server.engine.observe import Observer
from authz_server.engine.policy import SessionSource
from authz_server.engine.record import CallRecord
from authz_server.request import to_raw
from bench.messages import GATEWAY, message, quick_order, uuid
from demo.accounts import password_of, token_of
from demo.people import Person
from demo.plans import ORDER, SHOP, Request, Visit, plan
from trainer.importers.imported import ImportedCall, to_record

__all__ = ["ATTACKS", "SESSION", "Check", "abnormal", "checks", "quick_orders", "records", "to_raw_call"]

ATTACKS: Final = ("negative-count", "unknown-field", "sql-injection", "unknown-path", "skip-payment")
"""What `abnormal` makes, by turns."""
SESSION: Final = (SessionSource(cookie="session"), SessionSource(header="x-forwarded-for"), SessionSource(principal=True))
"""Where sessions are read from, as in demo/enforcement.yaml."""
_START: Final = 1_750_000_000.0
_HASTE: Final = 1000.0
"""Times slower than the demo's people, who think in milliseconds."""
_PARALLEL: Final = 24
"""Visits at a time."""
_CHUNK: Final = 5_000
"""Calls planned at a time, so that a million needs no more memory than these."""
_QUICK_SHARE: Final = 0.6
"""Visits to the shop that end with quick orders, one to three."""


class Check(msgspec.Struct, frozen=True, gc=False):
    """One Check: the message Envoy sends, and the status the call ended with."""

    data: bytes
    status: int


class _Visitor:
    """One visit under way: what only the answers tell (session, order) is made up here."""

    def __init__(self, visit: Visit, rng: random.Random, number: int) -> None:
        self.who = visit.person
        self.rng = rng
        self.session = ""
        self.order = f"{rng.randrange(10**4, 10**5)}"
        self._token = token_of("bench", visit.person.username, number)
        self.steps = list(visit.steps)
        if self.steps and self.steps[0][0].host == SHOP and rng.random() < _QUICK_SHARE:
            self.steps += [(_QUICK,)] * rng.randint(1, 3)

    def status(self, request: Request) -> int:
        """Answer as the demo's services would."""
        if request.target == "/login" and request.body is not None:
            right = password_of(self.who.username)
            if right not in request.body.decode() and right not in json.dumps(request.body.decode()):
                return 401
            self.session = self._token
        return 200


_QUICK: Final = Request("POST", "/orders/quick", content_type="application/json", pause=0.01)


def checks(seed: int, phase: str, calls: int) -> Iterator[Check]:
    """Make at least `calls` Checks in time order: everyday traffic, streamed."""
    made = chunk = 0
    now = _START
    while made < calls:
        for ts, check in _chunk(seed, f"{phase}-{chunk}", min(_CHUNK, calls - made), now):
            made += 1
            now = ts
            yield check
        chunk += 1


def _chunk(seed: int, phase: str, calls: int, start: float) -> Iterator[tuple[float, Check]]:
    waiting = iter(plan(seed, phase, max(1, calls // 2)))
    rng = random.Random(f"bench:{seed}:{phase}")
    active: list[tuple[float, int, _Visitor, int]] = []
    number, now = 0, start
    while True:
        while len(active) < _PARALLEL and (visit := next(waiting, None)) is not None:
            number += 1
            visitor = _Visitor(visit, rng, rng.randrange(10**9))
            heapq.heappush(active, (now + rng.random() * 10, number, visitor, 0))
        if not active:
            return
        now, order, visitor, step = heapq.heappop(active)
        for request in visitor.steps[step]:
            for check in _answered(request, visitor, now):
                yield now, check
        if step + 1 < len(visitor.steps):
            pause = 0.1 + _HASTE * max(request.pause for request in visitor.steps[step + 1])
            heapq.heappush(active, (now + pause, order, visitor, step + 1))


def _answered(request: Request, visitor: _Visitor, now: float) -> Iterator[Check]:
    """Make the Check of a request, and those of the calls that the service then makes inside the mesh."""
    rng = visitor.rng
    if request is _QUICK:
        yield Check(quick_order(visitor.who, visitor.session, now, rng), 200)
        return
    session = visitor.session
    status = visitor.status(request)
    request_id = uuid(rng)
    target = request.target.replace(ORDER, visitor.order)
    service = "shop/shop" if request.host == SHOP else "bookinfo/productpage"
    cookies = "; ".join([part for part in (visitor.who.cookies, f"session={session}" if session else "") if part])
    headers = {
        "x-forwarded-for": visitor.who.address,
        "x-envoy-external-address": visitor.who.address,
        "user-agent": visitor.who.agent,
        **({"cookie": cookies} if cookies else {}),
        **({"content-type": request.content_type} if request.content_type else {}),
        "accept": request.accept,
        "accept-language": visitor.who.language,
    }
    yield Check(
        message(request.method, target, request.host, request.body, headers, GATEWAY, service, request_id, now, rng), status
    )
    for method, path, to, body in _inner(request, target, visitor.who, status, rng):
        inside = {"user-agent": "Python/3.11 aiohttp/3.14.5", "accept": "*/*"}
        if body is not None:
            inside["content-type"] = "application/json"
        source = f"spiffe://demo.local/ns/{service.replace('/', '/sa/')}"
        yield Check(message(method, path, to.replace("/", "."), body, inside, source, to, request_id, now + 0.001, rng), 200)


def _inner(
    request: Request, target: str, who: Person, status: int, rng: random.Random
) -> Iterable[tuple[str, str, str, bytes | None]]:
    if request.host == SHOP:
        action = target.partition("?")[0]
        record = {"user": who.username, "method": request.method, "action": action, "status": status}
        yield "POST", "/audit", "shop/audit", json.dumps(record).encode()
    elif target.startswith("/productpage"):
        yield "GET", "/details/0", "bookinfo/details", None
        yield "GET", "/reviews/0", "bookinfo/reviews", None
        if rng.random() < 2 / 3:
            yield "GET", "/ratings/0", "bookinfo/ratings", None


def _people(seed: int, phase: str, calls: int) -> Iterator[tuple[Person, str, random.Random]]:
    rng = random.Random(f"bench:{seed}:{phase}")
    people = [visit.person for visit in plan(seed, phase, 4_000)]
    for _ in range(calls):
        who = rng.choice(people)
        yield who, token_of("bench", who.username, rng.randrange(3)), rng


def quick_orders(seed: int, phase: str, calls: int) -> list[bytes]:
    """Make quick orders alone, each of another content, so that no cache has seen it."""
    people = enumerate(_people(seed, phase, calls))
    return [quick_order(who, session, _START + 1e6 + n / 10, rng) for n, (who, session, rng) in people]


def abnormal(seed: int, phase: str, calls: int) -> list[bytes]:
    """Make abnormal calls, by turns as `ATTACKS` says."""
    made = []
    for n, (who, session, rng) in enumerate(_people(seed, phase, calls)):
        now = _START + 1e6 + n / 10
        headers = {"x-forwarded-for": who.address, "user-agent": who.agent, "cookie": f"session={session}", "accept": "*/*"}
        attack = n % len(ATTACKS)
        if attack == 0:
            made.append(quick_order(who, session, now, rng, count=-rng.randint(1, 99)))
        elif attack == 1:
            made.append(quick_order(who, session, now, rng, discount=rng.randint(1, 99)))
        else:
            sql = f"/search?q=shoes%27+OR+{rng.randint(1, 99)}%3D{rng.randint(1, 99)}%3B--+&page=1"
            method, target = (("GET", sql), ("GET", f"/admin/backup{n}.tar.gz"), ("POST", "/ship"))[attack - 2]
            body = json.dumps({"address": who.home, "express": False}).encode() if method == "POST" else None
            if body is not None:
                headers["content-type"] = "application/json"
            made.append(message(method, target, SHOP, body, headers, GATEWAY, "shop/shop", uuid(rng), now, rng))
    return made


def to_raw_call(data: bytes) -> RawCall:
    """Read a Check as the server does."""
    return to_raw(CheckRequest.FromString(data), _START)


def records(seed: int, phase: str, calls: int, observer: Observer) -> Iterator[CallRecord]:
    """Make the records that the server would have stored of everyday traffic, through the very code that it runs."""
    for number, check in enumerate(checks(seed, phase, calls)):
        yield to_record(ImportedCall(number, to_raw_call(check.data), check.status), observer, SESSION, f"bench-{number:x}")
