"""The step that needs no Check: policies generated from the bundle, run by the mesh's Envoys themselves.

Comes in: a bundle, a seed, how many calls. Goes out: what the policies let through and refused, how many Checks they save, and
how long clients waited with and without Checks. The same people visit and the same attacks are made twice: once only Envoy's RBAC
filter stands before the services, once it stands before ext_authz.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.table import Table

from demo.attack import Site
from demo.clients import run_visits
from demo.measure import Latency, fetch, latency_of
from demo.mesh import AuthzServer, Mesh
from demo.plans import plan
from demo.processes import DemoError, Process
from demo.rbac import http_filters
from demo.scenarios import SCENARIOS
from trainer.policies.document import as_policies, read_policies
from trainer.policies.policy import DRY_RUN, AuthorizationPolicy

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter

    from demo.clients import Answer
    from demo.report import Narrator
    from demo.scenarios import Scenario

STRUCTURAL = ("unusual-method", "unknown-endpoint-scan", "lateral-movement")
"""Scenarios that call what nobody calls: who may call which path with which method is all that is needed to refuse them."""
SHARE_REFUSED = 0.95
PHASE = 7
"""Numbers the runs of attacks, so that attackers are never the same people."""
FORBIDDEN = 403
_ARRIVED = re.compile(r"^http\.inbound\.downstream_rq_total: (\d+)", re.MULTILINE)
_CHECKED = re.compile(r"^http\.inbound\.ext_authz\.(?:ok|denied|error): (\d+)", re.MULTILINE)
SETTLE = 1.0


@dataclass(frozen=True, slots=True)
class Refused:
    """How many strikes of a scenario were refused by Envoy alone, without any Check."""

    scenario: str
    strikes: int
    refused: int

    @property
    def ok(self) -> bool:
        """Whether nearly all were; some doors of a scanner are open to everybody."""
        return self.refused >= SHARE_REFUSED * self.strikes


@dataclass(frozen=True, slots=True)
class Way:
    """One way to run the mesh: everyday calls and how long they took, attacks, and how many calls were checked of all."""

    benign: int
    benign_refused: int
    benign_failed: int
    waited: Latency
    attacks: Sequence[Refused]
    arrived: int
    checked: int


@dataclass(frozen=True, slots=True)
class PolicyStep:
    """What came of both ways."""

    alone: Way
    before_check: Way

    @property
    def ok(self) -> bool:
        """Every everyday call allowed in both ways, every structural scenario refused by Envoy alone."""
        ways = (self.alone, self.before_check)
        return all(way.benign_refused + way.benign_failed == 0 for way in ways) and all(one.ok for one in self.alone.attacks)


def run_policies(out: Path, bundle: Path, enforcement: Path, seed: int, calls: int, narrator: Narrator) -> PolicyStep:
    """Generate policies, run them in two meshes of their own under `out`/policies, and say what came of it."""
    place = out / "policies"
    (place / "decisions").mkdir(parents=True, exist_ok=True)
    with narrator.step("generating policies"):
        policies = generate(bundle, place / "generated", place)
    by_workload = to_filters(policies)
    authz = AuthzServer("dry_run", enforcement, None, place / "decisions" / "policies.jsonl", bundle)
    alone, before = (
        _run_way(Mesh(place / name, authz, asks, by_workload), seed, calls, narrator)
        for name, asks in (("alone", False), ("before_check", True))
    )
    step = PolicyStep(alone, before)
    narrator.say(f"   {len(policies)} policies for {len(by_workload)} workloads, all promoted")
    narrator.console.print(to_table(step))
    return step


def generate(bundle: Path, out: Path, logs: Path) -> list[AuthorizationPolicy]:
    """Run `trainer policies generate` and read what it wrote, as it is once promoted."""
    command = [sys.executable, "-m", "trainer", "policies", "generate", "--bundle", str(bundle), "--out", str(out)]
    process = Process("generate", command, logs / "generate.log")
    try:
        code = process.wait()
    finally:
        process.stop()
    if code != 0:
        raise DemoError(f"`trainer policies generate` ended with code {code}\n{process.tail()}")
    policies = as_policies(read_policies(out))
    for policy in policies:
        policy.metadata.annotations.pop(DRY_RUN, None)
    return policies


def to_filters(policies: Iterable[AuthorizationPolicy]) -> dict[str, list[HttpFilter]]:
    """Make each workload's filters; generated policies select `app`, which is the workload's name here."""
    by_workload: dict[str, list[AuthorizationPolicy]] = {}
    for policy in policies:
        selector = policy.spec.selector
        if selector is not None and policy.spec.action != "CUSTOM":
            name = f"{policy.metadata.namespace}/{selector.match_labels.get('app', '')}"
            by_workload.setdefault(name, []).append(policy)
    return {name: http_filters(some) for name, some in by_workload.items()}


def _run_way(mesh: Mesh, seed: int, calls: int, narrator: Narrator) -> Way:
    try:
        with narrator.step("starting Envoys with policies"):
            mesh.start()
        visits = plan(seed, "policies", calls)
        with narrator.step("everyday calls", sum(visit.calls for visit in visits)) as advance:
            answers = asyncio.run(run_visits(mesh.gateway, visits, lambda _: advance()))
        attacks = asyncio.run(_attack(Site(mesh.gateway, mesh.outbound), seed, int(mesh.asks)))
        time.sleep(SETTLE)
        mesh.check()
        arrived, checked = _counts(mesh.admin_urls)
    finally:
        mesh.stop()
    return Way(
        benign=len(answers),
        benign_refused=sum(_refused(answer) for answer in answers),
        benign_failed=sum(answer.status == 0 or answer.status >= 500 for answer in answers),
        waited=latency_of(answers),
        attacks=attacks,
        arrived=arrived,
        checked=checked,
    )


async def _attack(site: Site, seed: int, way: int) -> list[Refused]:
    structural: list[Scenario] = [scenario for scenario in SCENARIOS if scenario.name in STRUCTURAL]
    found = []
    for scenario in structural:
        attack = await scenario.attack(site, seed, PHASE + way)
        found.append(Refused(scenario.name, len(attack.struck), sum(_refused(answer) for answer in attack.struck)))
    return found


def _refused(answer: Answer) -> bool:
    """Whether Envoy refused it without a Check: a refusal of the authz server carries its decision's id."""
    return answer.status == FORBIDDEN and not answer.denied


def _counts(admins: Mapping[str, str]) -> tuple[int, int]:
    """How many calls arrived at sidecars, and about how many of them the authz server was asked."""
    pages = [fetch(f"{url}/stats?filter=http.inbound") for url in admins.values()]
    arrived, checked = (sum(int(count) for page in pages for count in one.findall(page)) for one in (_ARRIVED, _CHECKED))
    return arrived, checked


def to_table(step: PolicyStep) -> Table:
    """Show both ways side by side."""
    table = Table(title="The mesh's own policy, enforced by Envoy", title_justify="left")
    for name in ("", "policies alone", "policies, then Checks"):
        table.add_column(name)
    ways = (step.alone, step.before_check)
    table.add_row("everyday calls refused", *(f"{way.benign_refused} of {way.benign}" for way in ways))
    table.add_row("everyday calls lost", *(str(way.benign_failed) for way in ways))
    for pair in zip(step.alone.attacks, step.before_check.attacks, strict=True):
        table.add_row(f"{pair[0].scenario}: refused by Envoy", *(f"{one.refused} of {one.strikes}" for one in pair))
    table.add_row("calls that arrived at sidecars", *(f"{way.arrived:,}" for way in ways))
    table.add_row("of them without a Check", *(f"{way.arrived - way.checked:,}" for way in ways))
    table.add_row("clients waited, p50", *(f"{way.waited.p50_ms:.2f} ms" for way in ways))
    table.add_row("clients waited, p99", *(f"{way.waited.p99_ms:.2f} ms" for way in ways))
    return table
