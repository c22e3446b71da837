"""Whether the budget is kept: parts of the training data are held out, the rest is learned, normal calls refused are counted.

No test split is looked at, so that calibration can be worked on with this. The data are cut in time order (each fifth is judged
by what the other four taught, as new traffic is) and at random (whole callers where there are any, else calls), and everything
goes the way of `trainer train`. Generated traffic of several kinds is measured beside the files.

Rates are pooled over the parts, and over the seeds of the random cuts. Repeated calls aren't independent, and with several seeds
each call is judged several times: so the share of distinct contents refused stands beside, and intervals are as narrow as if all
were independent. A promise counts as broken where even the low end of that interval is above the budget.
"""

import random
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from authz_server.engine.model import ReadyModel
from authz_server.engine.observe import Observer
from authz_server.engine.record import CallRecord
from bench import novelty, workload
from bench.datasets import DROPPED_BY_DEFAULT, prepare
from bench.detection import files_or_default
from bench.table import table, write_json, yes
from bench.workflows.measure import records_of
from bench.workflows.run import WORKFLOWS
from bench.workflows.traffic import Split, sessions_of
from trainer.eligible import caller_of
from trainer.evaluate import Evaluation, Rate, evaluate_budgets, wilson
from trainer.imports import iter_calls_file
from trainer.train import train_calls

__all__ = ["BUDGETS", "Kept", "Options", "cuts", "measure", "run"]

BUDGETS: Final = (0.05, 0.01, 0.0025, 0.001, 0.0001)
PARTS: Final = 5
"""Parts that the data are cut into; each is held out once a cut."""
_CALLS: Final = 30_000
"""Calls of each kind of generated traffic."""
_SESSIONS: Final = 2_500
"""Sessions of each generated workflow."""
_TIME: Final = "in time order"
_RANDOM: Final = "at random"


class Options(msgspec.Struct, frozen=True):
    """What to measure: budgets, how many random cuts, whether generated traffic too, and the seed of everything made up."""

    budgets: tuple[float, ...] = BUDGETS
    seeds: int = 1
    generated: bool = True
    seed: int = 1


class Kept(msgspec.Struct, frozen=True):
    """Normal calls of one kind refused at one budget, all held-out parts together.

    `broken`: how many of the `parts` by themselves break the promise: of independent ones one in forty does by chance.
    """

    name: str
    cut: str
    budget: float
    refused: Rate
    distinct: Rate
    parts: int
    broken: int

    @property
    def held(self) -> bool:
        """Whether the interval reaches down to the budget."""
        return self.refused.low <= self.budget


def run(files: Sequence[Path], options: Options) -> list[Kept]:
    """Measure each file and each kind of generated traffic; print the table, write bench/out/promise.json."""
    found: list[Kept] = []
    for name, records in _all(files, options):
        print(f"learning {name}: {len(records):,} calls", flush=True)
        found += measure(name, records, options)
    if found:
        print("\n" + _table(found))
        print(f"\nwritten to {write_json('promise', {'options': options, 'kept': found})}")
    return found


def measure(name: str, records: Sequence[CallRecord], options: Options) -> list[Kept]:
    """Hold out each part of each cut once; `records` in time order, all of them normal."""
    found = []
    for cut, parts in cuts(records, options.seeds, options.seed):
        evaluations = [_evaluated(records, held_out, options.budgets) for held_out in parts]
        found += [
            _pooled(name, cut, [one[number] for one in evaluations], budget) for number, budget in enumerate(options.budgets)
        ]
    return found


def cuts(records: Sequence[CallRecord], seeds: int, seed: int) -> Iterator[tuple[str, list[frozenset[int]]]]:
    """Cut into `PARTS` parts, each a set of positions: once in time order, and by as many seeds at random, these all as one."""
    size = len(records)
    yield _TIME, [frozenset(range(size * part // PARTS, size * (part + 1) // PARTS)) for part in range(PARTS)]
    if seeds:
        yield _RANDOM, [part for number in range(seeds) for part in _random_parts(records, f"{seed}:{number}")]


def _random_parts(records: Sequence[CallRecord], seed: str) -> list[frozenset[int]]:
    """Cut at random; calls of one caller stay together unless the callers are so few that a part would be one of them."""
    rng = random.Random(f"promise:{seed}")
    callers = sorted({caller_of(record) for record in records} - {""})
    of_caller = {caller: rng.randrange(PARTS) for caller in callers} if len(callers) >= 10 * PARTS else {}
    parts: list[set[int]] = [set() for _ in range(PARTS)]
    for number, record in enumerate(records):
        part = of_caller.get(caller_of(record))
        parts[rng.randrange(PARTS) if part is None else part].add(number)
    return [frozenset(part) for part in parts]


def _evaluated(records: Sequence[CallRecord], held_out: frozenset[int], budgets: Sequence[float]) -> list[Evaluation]:
    split = [
        msgspec.structs.replace(record, split="test" if number in held_out else "train") for number, record in enumerate(records)
    ]
    learned = [record for record in split if record.split == "train"]
    models = {model.workload: ReadyModel(model, "bench") for model in train_calls(lambda: learned)}
    return evaluate_budgets(split, models, "bench", budgets)


def _pooled(name: str, cut: str, evaluations: Sequence[Evaluation], budget: float) -> Kept:
    refused = [one.false_positives for one in evaluations]
    return Kept(
        name,
        cut,
        budget,
        _together(refused),
        _together([one.distinct_false_positives for one in evaluations]),
        len(refused),
        sum(one.low > budget for one in refused),
    )


def _together(rates: Sequence[Rate]) -> Rate:
    return wilson(sum(rate.hits for rate in rates), sum(rate.n for rate in rates))


def _all(files: Sequence[Path], options: Options) -> Iterator[tuple[str, list[CallRecord]]]:
    observer = Observer()
    for path in files_or_default(files):
        name = path.name.partition(".")[0]
        with tempfile.TemporaryDirectory(prefix="meshwarden-bench-") as place:
            prepared = prepare(path, Path(place), drop_headers=name in DROPPED_BY_DEFAULT)
            yield name, list(iter_calls_file(str(prepared.train), observer))
    if options.generated:
        yield "shop (seeded)", list(workload.records(options.seed, "promise", _CALLS, observer))
        for workflow in WORKFLOWS:
            sessions = sessions_of(workflow, Split.TRAIN, options.seed, _SESSIONS)
            yield f"workflow {workflow.name}", records_of(workflow, Split.TRAIN, sessions, observer)
        for named in (False, True):
            kind = "sessions" if named else "anonymous"
            yield f"made-up API, {kind}", novelty.records(options.seed, _CALLS, observer, named=named)


def _table(found: Sequence[Kept]) -> str:
    rows = [
        (
            one.name,
            one.cut,
            f"{one.budget:g}",
            f"{one.refused.hits:,}/{one.refused.n:,}",
            _share(one.refused),
            _share(one.distinct),
            "-" if one.refused.rate is None else f"{one.refused.rate / one.budget:.2f}",
            f"{one.broken}/{one.parts}",
            yes(one.held),
        )
        for one in found
    ]
    header = ("data", "held out", "budget", "refused", "% (95 %)", "%, distinct (95 %)", "of budget", "parts over", "promise")
    return table("Normal calls refused on held-out training data; promise: the interval reaches down to the budget", header, rows)


def _share(rate: Rate) -> str:
    if rate.rate is None:
        return "-"
    return f"{100 * rate.rate:.4f} ({100 * rate.low:.4f}-{100 * rate.high:.4f})"
