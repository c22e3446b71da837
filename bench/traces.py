"""Calls inside a mesh, trace by trace: false alarms on benign traces, and what is noticed of attacks injected into real ones.

In: a file of the `calls` shape whose rows share an `x-request-id` header per trace, with `src` and `dst`. Learned from its train
split; the benign traces of its test split are judged as the server would: each call when it comes (who calls whom), each trace
when it is over (what must follow). Then 1,000 of them are judged again, each with one thing changed: synthetic injections in real
traces. Faults that the data set itself has are told apart and aren't attacks.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from authz_server.engine.decide import decide
from authz_server.engine.follow import missing, outcome_class
from authz_server.engine.model import ReadyModel
from authz_server.engine.observe import Observer
from authz_server.engine.record import CallRecord, to_parsed_call
from bench.datasets import data_directory
from bench.table import table, yes
from trainer.evaluate import Rate, wilson
from trainer.imports import iter_calls_file
from trainer.train import train_calls

__all__ = ["INJECTIONS", "Injected", "Judge", "run"]

_FILE: Final = "nezha_onlineboutique.jsonl.gz"
_INJECTED: Final = 1_000
_LEAST: Final = 0.99
_MOST: Final = 0.001

Trace = tuple[CallRecord, ...]


class Judge:
    """Judges calls and traces as the server does, with one bundle of models."""

    def __init__(self, models: Mapping[str, ReadyModel], budget: float) -> None:
        self._models = models
        self._budget = budget

    def alarms(self, trace: Trace) -> str:
        """Name the first reason why a trace is alarmed; empty: none."""
        seen: dict[str, set[tuple[str, str]]] = {}
        for record in trace:
            ready = self._models.get(record.workload)
            if ready is None:
                continue
            call = to_parsed_call(record)
            match = ready.match(call)
            seen.setdefault(record.principal, set()).add((record.workload, match[0]))
            judgement = decide(call, ready, match, None)
            if judgement.p_value <= self._budget:
                return judgement.surprises[0].code.value
        for record in trace:
            ready = self._models.get(record.workload)
            if ready is None:
                continue
            outcomes = ready.model.follows.get(ready.match(to_parsed_call(record))[0], {})
            follows = outcomes.get(outcome_class(record.status or 0)) or outcomes.get("") or ()
            if any(10**-follow.surprise <= self._budget for follow in missing(follows, seen.get(record.workload, set()))):
                return "missing_call"
        return ""


class Injected(NamedTuple):
    """One way to change a trace: what is asked of it (None: to be reported), and the change, None where it can not be made."""

    name: str
    least: float | None
    change: Callable[[Trace, random.Random, "Graph"], Trace | None]


class Graph(NamedTuple):
    """What the train split shows: who calls which endpoint, and which calls are always there given another of the same caller."""

    edges: frozenset[tuple[str, str, str]]
    mandatory: frozenset[tuple[tuple[str, str, str], tuple[str, str, str]]]


def to_graph(traces: Iterable[Trace]) -> Graph:
    """Read the graph off traces: an oracle of its own, so that what counts as mandatory isn't what the trainer learned."""
    traces = list(traces)
    edges: dict[tuple[str, str, str], set[int]] = {}
    for number, trace in enumerate(traces):
        for record in trace:
            edges.setdefault(_edge(record), set()).add(number)
    mandatory = {
        (given, child)
        for given, where in edges.items()
        for child, also in edges.items()
        if given != child and len(where) >= _INJECTED and where <= also
    }
    return Graph(frozenset(edges), frozenset(mandatory))


def _edge(record: CallRecord) -> tuple[str, str, str]:
    return record.principal, record.workload, record.path


def _skip_parent(trace: Trace, rng: random.Random, graph: Graph) -> Trace | None:
    """Have a call come from its caller's caller: a new edge."""
    callers = {record.workload: record.principal for record in trace}
    for record in rng.sample(trace, len(trace)):
        above = callers.get(record.principal, "")
        if record.principal and above and (above, record.workload, record.path) not in graph.edges:
            changed = msgspec.structs.replace(record, principal=above)
            return tuple(changed if one is record else one for one in trace)
    return None


def _stranger(trace: Trace, rng: random.Random, graph: Graph) -> Trace | None:
    """Have a call come from another workload of the mesh that never makes it."""
    workloads = sorted({edge[1] for edge in graph.edges})
    record = rng.choice(trace)
    others = [name for name in workloads if name != record.workload]
    strangers = [name for name in others if (name, record.workload, record.path) not in graph.edges]
    if not strangers:
        return None
    changed = msgspec.structs.replace(record, principal=rng.choice(strangers))
    return tuple(changed if one is record else one for one in trace)


def _drop_mandatory(trace: Trace, rng: random.Random, graph: Graph) -> Trace | None:
    """Leave out all calls of one kind that was there in every trace that had what the rest still has."""
    there = {_edge(record) for record in trace}
    rests = {kind: there - _below(trace, kind[1]) - {kind} for kind in sorted(there) if kind[0]}
    kinds = [kind for kind, rest in rests.items() if any((given, kind) in graph.mandatory for given in rest)]
    if not kinds:
        return None
    rest = rests[rng.choice(kinds)]
    return tuple(record for record in trace if _edge(record) in rest)


def _below(trace: Trace, workload: str) -> set[tuple[str, str, str]]:
    """What a workload calls itself goes with it, if nothing else calls that workload."""
    if len({_edge(record) for record in trace if record.workload == workload}) > 1:
        return set()
    return {_edge(record) for record in trace if record.principal == workload}


def _swap(trace: Trace, rng: random.Random, graph: Graph) -> Trace | None:
    """Have two calls of one caller, next to each other and of different kinds, change places."""
    del graph
    pairs = [
        index
        for index in range(len(trace) - 1)
        if trace[index].principal == trace[index + 1].principal and _edge(trace[index]) != _edge(trace[index + 1])
    ]
    if not pairs:
        return None
    index = rng.choice(pairs)
    first, second = trace[index], trace[index + 1]
    swapped = [msgspec.structs.replace(second, ts=first.ts), msgspec.structs.replace(first, ts=second.ts)]
    return (*trace[:index], *swapped, *trace[index + 2 :])


INJECTIONS: Final = (
    Injected("a call that skips its parent service", _LEAST, _skip_parent),
    Injected("a call from a workload that never makes it", _LEAST, _stranger),
    Injected("a dropped mandatory child", _LEAST, _drop_mandatory),
    Injected("a swapped order", None, _swap),
)


def run(files: Sequence[Path], budget: float = 1e-3, seed: int = 1) -> None:
    """Measure and print one table a file."""
    directory = data_directory()
    chosen = list(files) or [path for path in (directory / _FILE,) if path.is_file()]
    if not chosen:
        print(f"skipped: {_FILE} is not here")
    for file in chosen:
        _measure(file, budget, seed)


def _measure(file: Path, budget: float, seed: int) -> None:
    records = list(iter_calls_file(str(file), Observer("bench")))
    train = [record for record in records if record.split != "test"]
    models = {model.workload: ReadyModel(model, "") for model in train_calls(lambda: train)}
    judge = Judge(models, budget)
    graph = to_graph(to_traces(train))
    benign = list(to_traces(record for record in records if record.split == "test" and record.label != 1))
    alarmed = [judge.alarms(trace) for trace in benign]
    rate = wilson(sum(map(bool, alarmed)), len(benign))
    rows = [("benign traces, test split", *_shown(rate), f"<= {_MOST:.1%}", yes((rate.rate or 0.0) <= _MOST))]
    rng = random.Random(seed)
    for injection in INJECTIONS:
        changed = _injected(injection, benign, rng, graph)
        caught = wilson(sum(bool(judge.alarms(trace)) for trace in changed), len(changed))
        asked = f">= {injection.least:.0%}" if injection.least is not None else "as it is"
        reached = yes((caught.rate or 0.0) >= injection.least) if injection.least is not None else ""
        rows.append((f"injected: {injection.name}", *_shown(caught), asked, reached))
    faults = list(to_traces(record for record in records if record.label == 1))
    found = wilson(sum(bool(judge.alarms(trace)) for trace in faults), len(faults))
    rows.append(("faults of the data set (no attacks)", *_shown(found), "", ""))
    title = f"{file.name} at budget {budget:g}: {len(train):,} calls learned of {len(models)} workloads; injections are synthetic"
    print(table(title, ("", "alarmed", "of", "rate", "95 % interval", "asked", "reached"), rows))
    for reason in sorted(set(alarmed) - {""}):
        print(f"  benign, alarmed: {alarmed.count(reason)} x {reason}")


def _injected(injection: Injected, benign: Sequence[Trace], rng: random.Random, graph: Graph) -> list[Trace]:
    """Change up to `_INJECTED` traces that it can be done to, in random order."""
    changed: list[Trace] = []
    for trace in rng.sample(benign, len(benign)):
        made = injection.change(trace, rng, graph)
        if made:
            changed.append(made)
        if len(changed) == _INJECTED:
            break
    return changed


def to_traces(records: Iterable[CallRecord]) -> Iterator[Trace]:
    """Group calls by request id, each group in time order."""
    traces: dict[str, list[CallRecord]] = {}
    for record in records:
        traces.setdefault(record.request_id, []).append(record)
    for trace in traces.values():
        yield tuple(sorted(trace, key=lambda record: record.ts))


def _shown(rate: Rate) -> tuple[str, str, str, str]:
    if rate.rate is None:
        return str(rate.hits), str(rate.n), "-", "-"
    return f"{rate.hits:,}", f"{rate.n:,}", f"{rate.rate:.3%}", f"{rate.low:.3%} to {rate.high:.3%}"
