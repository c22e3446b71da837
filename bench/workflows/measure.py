"""What is caught of a workflow's abuse, who is alarmed in vain, and what the sequence side costs.

The real path: rows as a file -> the `calls` importer -> `train_calls`, without labels -> the server's histories in memory and
`decide`, in the order of time; how a call ended is settled when it ended and the access log was flushed, as live. Judged as in
dry run: what is alarmed isn't stopped, so the abuse goes on as if nobody had noticed.
"""

import heapq
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from authz_server.engine.call import Call as EngineCall
from authz_server.engine.decide import decide
from authz_server.engine.history import IDLE_SECONDS, Past
from authz_server.engine.model import ReadyModel
from authz_server.engine.observe import Observer
from authz_server.engine.record import CallRecord, OutcomeRecord, to_parsed_call
from authz_server.histories.memory import MemoryHistories
from authz_server.histories.visit import to_visit
from bench.table import median
from bench.workflows.session import Workflow
from bench.workflows.traffic import Session, Split, to_rows, write_rows
from trainer.imports import iter_calls_file
from trainer.train import train_calls

__all__ = ["Alarms", "Cost", "Judged", "alarms", "cost", "judge", "learn", "records_of"]

FLUSH_SECONDS: Final = 1.0
"""What Envoy's access log may wait before it sends (`buffer_flush_interval`, 1 s by default)."""
_ROUNDS: Final = 9
_TIMED: Final = 6_000


class Judged(msgspec.Struct, frozen=True, gc=False):
    """One call as it was judged; `reason`: the strongest finding, empty where there was none."""

    client: str
    attack: bool
    p_value: float
    reason: str


class Alarms(msgspec.Struct, frozen=True):
    """The sessions of one kind (empty: honest ones), at one budget.

    `caught`: with an alarm at a labelled call; `at_once`: at the first of them; `early`: with one before, on a benign call.
    `calls`, `alarmed_calls`: those that aren't labelled. `reasons`: of alarms on calls that aren't labelled.
    """

    kind: str
    sessions: int
    caught: int
    at_once: int
    early: int
    calls: int
    alarmed_calls: int
    reasons: dict[str, int]


class Cost(msgspec.Struct, frozen=True):
    """Microseconds a call, the median of the rounds' medians with the least and greatest: (median, least, greatest).

    `without`: `decide()` of a call without a past; `judged`: what its past adds to that; `kept`: asking for the past and noting
    the step, in memory.
    """

    without: tuple[float, float, float]
    judged: tuple[float, float, float]
    kept: tuple[float, float, float]


def records_of(workflow: Workflow, split: Split, sessions: Sequence[Session], observer: Observer) -> list[CallRecord]:
    """Import the calls of sessions as from a file."""
    with tempfile.TemporaryDirectory(prefix="meshwarden-bench-") as place:
        path = Path(place) / "calls.jsonl"
        with path.open("w", encoding="utf-8") as file:
            write_rows(to_rows(workflow, split, sessions), file)
        return list(iter_calls_file(str(path), observer))


def learn(records: Sequence[CallRecord]) -> ReadyModel:
    """Train on calls of one workload."""
    (model,) = train_calls(lambda: records)
    return ReadyModel(model, "bench")


def judge(records: Sequence[CallRecord], clients: Sequence[str], ready: ReadyModel) -> Iterator[Judged]:
    """Judge calls in the order of time; `clients` names who made each, since a record keeps only a digest."""
    histories = MemoryHistories(records[0].ts - IDLE_SECONDS)
    pending: list[tuple[float, str, int]] = []
    for record, client in zip(records, clients, strict=True):
        while pending and pending[0][0] <= record.ts:
            ended, decision_id, status = heapq.heappop(pending)
            histories.settle(OutcomeRecord(decision_id, ended, status=status))
        call = to_parsed_call(record)
        match = ready.match(call)
        past = histories.visit(to_visit(call, match[0], record.id))
        ended = record.ts + (record.duration_ms or 0.0) / 1000 + FLUSH_SECONDS
        heapq.heappush(pending, (ended, record.id, record.status or 0))
        judgement = decide(call, ready, match, past)
        reason = judgement.surprises[0].code.value if judgement.surprises else ""
        yield Judged(client, record.label == 1, judgement.p_value, reason)


def alarms(sessions: Sequence[Session], judged: Sequence[Judged], budget: float) -> list[Alarms]:
    """Count by kind of session, honest ones first."""
    kinds = {session.client: session.attack for session in sessions}
    calls: dict[str, list[Judged]] = {client: [] for client in kinds}
    for one in judged:
        calls[one.client].append(one)
    found = []
    for kind in dict.fromkeys(sorted(kinds.values())):
        mine = [calls[client] for client, attack in kinds.items() if attack == kind]
        labelled = [[one.p_value <= budget for one in session if one.attack] for session in mine]
        benign = [one for session in mine for one in session if not one.attack]
        reasons = Counter(one.reason for one in benign if one.p_value <= budget)
        found.append(
            Alarms(
                kind,
                len(mine),
                sum(any(denied) for denied in labelled),
                sum(denied[0] for denied in labelled if denied),
                sum(any(one.p_value <= budget for one in session if not one.attack) for session in mine),
                len(benign),
                reasons.total(),
                dict(reasons.most_common()),
            )
        )
    return found


def cost(records: Sequence[CallRecord], ready: ReadyModel) -> Cost:
    """Time calls with and without their past, in turns, so that other work on the machine disturbs both alike."""
    histories = MemoryHistories(records[0].ts - IDLE_SECONDS)
    cases: list[tuple[EngineCall, tuple[str, tuple[str, ...]], Past | None]] = []
    kept: list[list[int]] = [[] for _ in range(_ROUNDS)]
    for number, record in enumerate(records[: _TIMED * _ROUNDS]):
        call = to_parsed_call(record)
        match = ready.match(call)
        began = time.perf_counter_ns()
        past = histories.visit(to_visit(call, match[0], record.id))
        kept[number % _ROUNDS].append(time.perf_counter_ns() - began)
        if number % _ROUNDS == 0:
            cases.append((call, match, past))
    without, added = [], []
    for _ in range(_ROUNDS):
        bare, more = [], []
        for call, match, past in cases:
            t0 = time.perf_counter_ns()
            decide(call, ready, match, None)
            t1 = time.perf_counter_ns()
            decide(call, ready, match, past)
            t2 = time.perf_counter_ns()
            bare.append(t1 - t0)
            more.append(t2 - t1 - (t1 - t0))
        without.append(median(bare))
        added.append(median(more))
    return Cost(_us(without), _us(added), _us([median(one) for one in kept]))


def _us(spent: Sequence[float]) -> tuple[float, float, float]:
    return median(spent) / 1e3, min(spent) / 1e3, max(spent) / 1e3
