"""The story of the demo: learn in dry run, train, replay in dry run, enforce, attack, and say what came of it.

Comes in: a seed and how many calls. Goes out: everything under `out` (summary.json, bundle, store, decision logs, the
logs of all processes) and an exit code: 0 if every scenario ended as expected and at most 1 in 1,000 everyday calls was
denied.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from demo.alerts import alerts
from demo.attack import Site
from demo.beside import WINDOW_SECONDS, Beside
from demo.clients import PARALLEL_VISITS, Answer, run_visits
from demo.measure import Denial, Latency, check_latency, denials, fetch, latency_of, unanswered_checks
from demo.mesh import AuthzServer, Mesh
from demo.plans import Visit, plan
from demo.policies import run_policies
from demo.processes import DemoError, Process
from demo.report import Benign, Narrator, Row, count_benign, scenario_table, write_summary
from demo.scenarios import SCENARIOS, SPLIT
from demo.split import Split, redis_kind, run_split
from demo.strikes import Strikes, count_strikes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from demo.attack import Attack

POLICY = Path(__file__).with_name("enforcement.yaml")
MADE_HERE = ("certs", "envoy", "logs", "store", "bundle", "decisions", "split", "policies", "summary.json")
CALLS_POLICIES = 600
"""Everyday calls with which the mesh's own policies are tried, twice."""
LOGS_SETTLE = 1.0
"""How long access log and decision log may take to arrive after the last call: Envoy flushes every 0.2 s."""


@dataclass(frozen=True, slots=True)
class Options:
    """What to run. `calls_check` is for enforcement; the dry run makes half as many everyday calls."""

    out: Path
    seed: int
    calls_learn: int
    calls_check: int


@dataclass(frozen=True, slots=True)
class Phase:
    """What one phase measured."""

    benign: Benign
    strikes: Sequence[Strikes]
    waited: Latency
    check: Latency
    unanswered: int
    beside: Sequence[Beside | None]


def run(options: Options, narrator: Narrator) -> int:
    """Tell the whole story; return the exit code."""
    started = time.monotonic()
    redis_kind()  # or say at once that it is missing, not at the end
    out = options.out
    for name in MADE_HERE:
        path = out / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    (out / "decisions").mkdir(parents=True)
    mesh = Mesh(out, _server(out, "learn", "dry_run", bundle=None))
    narrator.say("[bold]1. A mesh on one machine[/]: a gateway, 8 services, an Envoy beside each, mutual TLS between them")
    try:
        with narrator.step("starting"):
            mesh.start()
        narrator.say(f"   gateway http://{mesh.gateway} (Host: shop.demo.local or bookinfo.demo.local)")
        learn = _learn(mesh, options, narrator)
        _train(mesh, out, narrator)
        narrator.say("[bold]4. Dry run[/]: new everyday calls and all attacks; everything is judged, nothing is refused")
        dry_run = _judge(mesh, options, "dry_run", narrator)
        narrator.say("[bold]5. Enforce[/]: the same again with other people, and now abnormal calls are refused")
        enforce = _judge(mesh, options, "enforce", narrator)
        narrator.say("[bold]6. Two servers[/]: the shop's calls go by turns to two authz servers that share histories in a Redis")
        with narrator.step("everyday calls and the attack, in dry run and enforced"):
            split = run_split(mesh, out / "split", _server(out, "split", "dry_run", out / "bundle"), options.seed)
        _say_split(narrator, split[1])
    finally:
        mesh.stop()
    narrator.say("[bold]7. The mesh's own policy[/]: who may call what, generated, and enforced by the Envoys without a Check")
    policies = run_policies(out, out / "bundle", POLICY, options.seed, CALLS_POLICIES, narrator)
    columns = (SCENARIOS, dry_run.strikes, enforce.strikes, dry_run.beside, enforce.beside)
    rows = [Row(*parts) for parts in zip(*columns, strict=True)]
    rows.append(Row(SPLIT, split[0].strikes, split[1].strikes))
    latency = {"learn": learn, "dry_run": dry_run.waited, "enforce": enforce.waited, "check": enforce.check}
    write_summary(out / "summary.json", enforce.benign, rows, latency)
    good = _conclude(narrator, rows, (dry_run.benign, enforce.benign, split[1].benign), latency)
    if not policies.ok:
        narrator.say("[red]policies: everyday calls refused, or attacks let through, by Envoy alone[/]")
    good = good and policies.ok
    narrator.say(f"{'[green]all as expected[/]' if good else '[red]failed[/]'} after {time.monotonic() - started:.0f} s")
    return 0 if good else 1


def _server(out: Path, phase: str, mode: str, bundle: Path | None) -> AuthzServer:
    """The authz server's settings in one phase; only what was learned from goes to the store that trains."""
    store = out / "store" / phase
    return AuthzServer(mode, POLICY, store, out / "decisions" / f"{phase}.jsonl", bundle)


def _learn(mesh: Mesh, options: Options, narrator: Narrator) -> Latency:
    narrator.say("[bold]2. Learn[/]: people visit the shop and the books; everything is allowed and recorded")
    answers = _visit(mesh, plan(options.seed, "learn", options.calls_learn), narrator, 2 * PARALLEL_VISITS)
    time.sleep(LOGS_SETTLE)
    mesh.check()
    return latency_of(answers)


def _visit(mesh: Mesh, visits: Sequence[Visit], narrator: Narrator, parallel: int = PARALLEL_VISITS) -> list[Answer]:
    started = time.monotonic()
    with narrator.step("everyday calls", sum(visit.calls for visit in visits)) as advance:
        answers = asyncio.run(run_visits(mesh.gateway, visits, lambda _: advance(), parallel))
    seconds = time.monotonic() - started
    rate = len(answers) / seconds
    narrator.say(f"   {len(visits)} visits, {len(answers)} calls from outside in {seconds:.1f} s, {rate:.0f} a second")
    return answers


def _train(mesh: Mesh, out: Path, narrator: Narrator) -> None:
    """Stop the authz server, so that all it recorded is on disk, and learn from that."""
    narrator.say("[bold]3. Train[/]: from the recorded calls to a bundle")
    mesh.stop_authz()
    command = [sys.executable, "-m", "trainer", "train", "--store", str(out / "store" / "learn")]
    command += ["--out", str(out / "bundle")]
    started = time.monotonic()
    process = Process("trainer", command, out / "logs" / "trainer.log")
    try:
        with narrator.step("training"):
            code = process.wait()
    finally:
        process.stop()
    if code != 0:
        raise DemoError(f"the trainer ended with code {code}\n{process.tail()}")
    narrator.say(f"   trained in {time.monotonic() - started:.1f} s")


def _judge(mesh: Mesh, options: Options, mode: str, narrator: Narrator) -> Phase:
    settings = _server(options.out, mode, mode, options.out / "bundle")
    with narrator.step(f"starting the authz server in {mode}"):
        mesh.restart_authz(settings)
    unanswered_before = unanswered_checks(mesh.admin_urls.values())
    calls = options.calls_check if mode == "enforce" else max(1, options.calls_check // 2)
    answers = _visit(mesh, plan(options.seed, mode, calls), narrator)
    with narrator.step("attacks", len(SCENARIOS)) as advance:
        site = Site(mesh.gateway, mesh.outbound, mode == "enforce")
        attacks, came = asyncio.run(_attack(site, options.seed, settings.decision_log, advance))
    time.sleep(LOGS_SETTLE)
    mesh.check()
    log = denials(settings.decision_log)
    phase = Phase(
        benign=count_benign(answers, log),
        strikes=[count_strikes(scenario, attack, log, came) for scenario, attack in zip(SCENARIOS, attacks, strict=True)],
        waited=latency_of(answers),
        check=check_latency(fetch(f"{mesh.authz_admin}/metrics")),
        unanswered=unanswered_checks(mesh.admin_urls.values()) - unanswered_before,
        beside=[attack.beside for attack in attacks],
    )
    _say_benign(narrator, phase, answers, log)
    return phase


async def _attack(
    site: Site, seed: int, decision_log: Path, advance: Callable[[], None]
) -> tuple[list[Attack], Mapping[str, float]]:
    """Run all scenarios, one after the other; tell also when which call was alerted."""
    attacks = []
    async with alerts(decision_log) as came:
        for scenario in SCENARIOS:
            attacks.append(await scenario.attack(site, seed, int(site.enforced)))
            advance()
        await asyncio.sleep(LOGS_SETTLE)
    return attacks, came


def _say_benign(narrator: Narrator, phase: Phase, answers: Sequence[Answer], log: Mapping[str, list[Denial]]) -> None:
    benign = phase.benign
    narrator.say(
        f"   everyday calls: {benign.refused} of {benign.calls} refused, {benign.broken} more answered in part because a "
        f"call inside was refused, {benign.would} would be denied, {benign.alerted} alerted, {benign.errors} errors"
    )
    if phase.unanswered:
        narrator.say(f"   [yellow]{phase.unanswered} Checks got no answer in time; those calls passed[/]")
    reasons = Counter(
        f"{denial.workload} {denial.endpoint}: {denial.reason}" for answer in answers for denial in log.get(answer.request_id, [])
    )
    for reason, count in reasons.most_common(5):
        narrator.say(f"     {count} x {escape(reason)}")


def _say_split(narrator: Narrator, split: Split) -> None:
    benign = split.benign
    narrator.say(
        f"   everyday calls: {benign.denied} of {benign.calls} refused, {benign.errors} errors; "
        f"the servers were asked {split.checks[0]} and {split.checks[1]} times"
    )


def _say_beside(narrator: Narrator, name: str, unhindered: Beside, found: Beside) -> None:
    narrator.say(
        f"   beside {name}: other clients' p99 {found.during.p99_ms:.1f} ms, in quiet {found.quiet.p99_ms:.1f} ms: "
        f"{found.slower:.1f} times (in dry run {unhindered.slower:.1f} times); {found.refused} of {found.calls} refused"
    )
    narrator.say(
        f"     after the flood's first {WINDOW_SECONDS:.0f} s: p99 {found.after.p99_ms:.1f} ms, {found.slower_after:.1f} times; "
        f"{found.reached} of its {found.flood} calls reached the backend "
        f"({100 * found.share_reached:.1f} %)"
    )


def _conclude(
    narrator: Narrator,
    rows: Sequence[Row],
    benign: tuple[Benign, Benign, Benign],
    latency: Mapping[str, Latency],
) -> bool:
    narrator.console.print(scenario_table(rows))
    for row in rows:
        if row.beside is not None and row.beside_dry_run is not None:
            _say_beside(narrator, row.scenario.name, row.beside_dry_run, row.beside)
    for name, value in latency.items():
        narrator.say(f"   latency {name}: p50 {value.p50_ms:.2f} ms, p99 {value.p99_ms:.2f} ms")
    failed = [row.scenario.name for row in rows if not row.ok]
    if failed:
        narrator.say(f"[red]not as expected:[/] {', '.join(failed)}")
    dry_run, *enforced = benign
    if dry_run.denied or dry_run.errors:
        narrator.say(f"[red]dry run disturbed everyday calls:[/] {dry_run}")
    for one in enforced:
        if not one.ok:
            narrator.say(f"[red]everyday calls denied or lost:[/] {one}")
    return not failed and all(one.ok for one in enforced) and not dry_run.denied
