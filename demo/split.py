"""Two authz servers that share callers' histories: a session's calls go by turns to the one and the other.

Comes in: a running mesh and what its server was told. Goes out: everyday calls and the scenario SPLIT, judged by both servers,
and how many calls each of them was asked about.
"""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING

from demo.attack import Site
from demo.clients import run_visits
from demo.measure import CHECK_HISTOGRAM, denials, fetch
from demo.plans import SHOP, plan
from demo.processes import DemoError
from demo.redis_server import Kind, RedisServer, redis_binary
from demo.report import Benign, count_benign
from demo.scenarios import SPLIT
from demo.strikes import Strikes, count_strikes

if TYPE_CHECKING:
    from pathlib import Path

    from demo.mesh import AuthzServer, Mesh
    from demo.plans import Visit

_CHECKS = re.compile(rf"^{CHECK_HISTOGRAM}_count(?:{{.*}})? ([0-9.e+]+)", re.MULTILINE)
CALLS = 1_000
SETTLE = 1.0


@dataclass(frozen=True, slots=True)
class Split:
    """What came of it in one mode; `checks`: what each server was asked."""

    benign: Benign
    strikes: Strikes
    checks: tuple[int, int]


def redis_kind() -> Kind:
    """Tell which server is installed, Redis or Valkey; raises DemoError if neither is."""
    try:
        redis_binary(Kind.VALKEY)
    except DemoError:
        redis_binary(Kind.REDIS)
        return Kind.REDIS
    return Kind.VALKEY


def run_split(mesh: Mesh, directory: Path, settings: AuthzServer, seed: int) -> tuple[Split, Split]:
    """Run everyday calls and the attack in dry run and enforced, with histories in a Redis of its own."""
    directory.mkdir(parents=True, exist_ok=True)
    found = []
    for mode in ("dry_run", "enforce"):
        with RedisServer(redis_kind(), directory) as redis:
            found.append(_run_mode(mesh, directory, replace(settings, mode=mode, record=None, history=redis.url), seed))
            mesh.stop_replica()
            mesh.stop_authz()
    return found[0], found[1]


def _run_mode(mesh: Mesh, directory: Path, settings: AuthzServer, seed: int) -> Split:
    first, second = (replace(settings, decision_log=directory / f"{settings.mode}-{name}.jsonl") for name in ("first", "second"))
    mesh.restart_authz(first)
    replica = mesh.start_replica(second)
    site = Site(replica.gateway, enforced=settings.mode == "enforce")
    visits = [visit for visit in plan(seed, f"split {settings.mode}", 2 * CALLS) if _is_shopping(visit)]
    answers = asyncio.run(run_visits(site.gateway, visits, lambda _: None))
    attack = asyncio.run(SPLIT.attack(site, seed, int(site.enforced)))
    time.sleep(SETTLE)
    mesh.check()
    logs = [denials(one.decision_log) for one in (first, second)]
    log = {name: list(chain.from_iterable(found.get(name, []) for found in logs)) for name in chain(*logs)}
    checks = tuple(_asked(url) for url in (mesh.authz_admin, f"http://{replica.admin}"))
    return Split(count_benign(answers, log), count_strikes(SPLIT, attack, log, {}), (checks[0], checks[1]))


def _is_shopping(visit: Visit) -> bool:
    """Only the shop has two sidecars."""
    return all(request.host == SHOP for step in visit.steps for request in step)


def _asked(admin: str) -> int:
    return int(sum(float(count) for count in _CHECKS.findall(fetch(f"{admin}/metrics"))))
