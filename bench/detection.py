"""Detection on files of the `calls` shape: learned from the train split without labels, judged on the rest, at several budgets.

Goes the way a user goes: `trainer import` into a store, `trainer train`, `trainer evaluate`, all in a temporary directory. Calls
a second are a second of this one process's CPU, so that other people's work on the machine disturbs them little.
"""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from authz_server.bundle import Bundle, load_bundle
from authz_server.engine.observe import Observer
from authz_server.engine.record import to_parsed_call
from bench.datasets import DEFAULTS, DROPPED_BY_DEFAULT, Poison, Prepared, data_directory, prepare
from bench.stages import decide_us
from bench.table import table, write_json, yes
from trainer.evaluate import Evaluation, Rate, evaluate_budgets
from trainer.imports import Format, import_files, iter_calls_file
from trainer.train import train

__all__ = ["BUDGETS", "Measured", "files_or_default", "measure", "run"]

BUDGETS: Final = (0.05, 0.01, 0.0025, 0.001, 0.0001)
_TIMED_CALLS: Final = 20_000
_DATA: Final = "data"


class _Target(msgspec.Struct, frozen=True):
    """A row of issue 3: least true positives, most false positives, most of these on distinct calls (1: not asked)."""

    true_positives: float
    false_positives: float
    distinct: float = 1.0


TARGETS: Final = {
    ("csic2010", 0.001): _Target(0.995, 0.001, 0.002),
    ("csic2010", 0.0001): _Target(0.97, 0.0002),
    ("atrdf1", 0.0025): _Target(0.92, 0.0025),
}


class Measured(msgspec.Struct, frozen=True):
    """One file, one training: the evaluations by budget, and what it cost."""

    name: str
    notes: tuple[str, ...]
    teaching: int
    import_per_second: float
    train_per_second: float
    bundle_bytes: int
    decide_us: tuple[float, float]
    evaluations: list[Evaluation]


def files_or_default(files: Sequence[Path]) -> list[Path]:
    """Take the files as given, or the public ones that are there; say plainly which are skipped."""
    wanted = list(files) or [data_directory() / name for name in DEFAULTS]
    there = []
    for path in wanted:
        if path.is_file():
            there.append(path)
        else:
            print(f"skipped: {path} is not there (set BENCH_DATA to the directory of the public data)")
    return there


def run(
    files: Sequence[Path],
    budgets: Sequence[float] = BUDGETS,
    *,
    drop_headers: bool | None = None,
    poisons: Sequence[Poison] = (),
    clients: int = 0,
    seed: int = 1,
) -> list[Measured]:
    """Measure each file, clean and with each poison; print the tables, write bench/out/detection.json."""
    measured: list[Measured] = []
    for path in files_or_default(files):
        print(f"learning {path.name}", flush=True)
        for poison in (None, *poisons):
            measured.append(measure(path, budgets, drop_headers=drop_headers, poison=poison, clients=clients, seed=seed))
    if measured:
        print("\n" + _rates(measured))
        print("\n" + _costs(measured))
        if poisons:
            print("\n" + _changes(measured))
        print("\n" + _attacks(measured))
        print(f"\nwritten to {write_json('detection', {'measured': measured, 'seed': seed})}")
    return measured


def measure(
    path: Path,
    budgets: Sequence[float],
    *,
    drop_headers: bool | None = None,
    poison: Poison | None = None,
    clients: int = 0,
    seed: int = 1,
) -> Measured:
    """Import, train and evaluate one file. `drop_headers` None: for the files that need it."""
    name = path.name.partition(".")[0]
    with tempfile.TemporaryDirectory(prefix="meshwarden-bench-") as place:
        directory = Path(place)
        drop = name in DROPPED_BY_DEFAULT if drop_headers is None else drop_headers
        prepared = prepare(path, directory / _DATA, drop_headers=drop, poison=poison, clients=clients, seed=seed)
        observer = Observer()
        store, out = str(directory / "store"), str(directory / "bundle")
        began = time.process_time()
        import_files([str(prepared.train)], Format.CALLS, store, observer)
        imported = time.process_time()
        train(store, out, observer.key_id)
        trained = time.process_time()
        bundle = load_bundle(out, observer.key_id)
        evaluations = evaluate_budgets(iter_calls_file(str(prepared.all), observer), bundle.models, bundle.revision, budgets)
        return Measured(
            name + (f" +{poison.clients} poisoner{'s' if poison.clients > 1 else ''}" if poison else ""),
            prepared.notes,
            prepared.teaching,
            prepared.teaching / (imported - began),
            prepared.teaching / (trained - imported),
            sum(file.stat().st_size for file in Path(out).rglob("*") if file.is_file()),
            _decide(prepared, observer, bundle),
            evaluations,
        )


def _decide(prepared: Prepared, observer: Observer, bundle: Bundle) -> tuple[float, float]:
    """Time `decide()` on the file's calls, evenly spread."""
    every = max(1, prepared.rows // _TIMED_CALLS)
    records = iter_calls_file(str(prepared.all), observer)
    return decide_us([to_parsed_call(record) for n, record in enumerate(records) if n % every == 0], bundle, _TIMED_CALLS)


def _rates(measured: Sequence[Measured]) -> str:
    rows = []
    for one in measured:
        for found in one.evaluations:
            false = found.false_positives
            rows.append(
                (
                    one.name,
                    f"{found.budget:g}",
                    _share(found.true_positives),
                    _share(false, 3),
                    f"{false.hits:,}/{false.n:,}",
                    _share(found.distinct_false_positives, 3),
                    "-" if found.auc is None else f"{found.auc:.5f}",
                    "-" if false.rate is None else yes(false.low <= found.budget),
                    _reached(one.name, found),
                )
            )
    header = ("data", "budget", "TPR % (95 %)", "FPR % (95 %)", "refused", "FPR %, distinct (95 %)", "AUC", "promise", "issue 3")
    return table(
        "Detection: trained on the train split without labels; promise: the FPR's interval reaches down to the budget",
        header,
        rows,
    )


def _reached(name: str, found: Evaluation) -> str:
    target = TARGETS.get((name, found.budget))
    if target is None:
        return ""
    rates = (found.true_positives.rate or 0.0, found.false_positives.rate or 0.0, found.distinct_false_positives.rate or 0.0)
    return yes(rates[0] >= target.true_positives and rates[1] <= target.false_positives and rates[2] <= target.distinct)


def _costs(measured: Sequence[Measured]) -> str:
    rows = [
        (
            one.name,
            f"{one.teaching:,}",
            f"{one.import_per_second:,.0f}",
            f"{one.train_per_second:,.0f}",
            yes(one.train_per_second >= 20_000),
            f"{one.bundle_bytes:,}",
            f"{one.decide_us[0]:.1f}/{one.decide_us[1]:.0f}",
            "; ".join(one.notes),
        )
        for one in measured
    ]
    header = ("data", "teaching", "import/s", "train/s", ">= 20,000", "bundle bytes", "decide() p50/p99 us", "notes")
    return table("Cost: calls a CPU second on one core", header, rows)


def _changes(measured: Sequence[Measured]) -> str:
    rows = []
    clean: Measured | None = None
    for one in measured:
        if clean is None or not one.name.startswith(f"{clean.name} +"):
            clean = one
            continue
        for before, after in zip(clean.evaluations, one.evaluations, strict=True):
            old, new = before.true_positives.rate or 0.0, after.true_positives.rate or 0.0
            false = (after.false_positives.rate or 0.0) - (before.false_positives.rate or 0.0)
            rows.append(
                (one.name, f"{before.budget:g}", f"{old:.2%}", f"{new:.2%}", f"{(new - old) * 100:+.2f}", f"{false * 100:+.3f}")
            )
    return table(
        "Attacks in training: points of change", ("data", "budget", "TPR clean", "TPR", "TPR change", "FPR change"), rows
    )


def _attacks(measured: Sequence[Measured]) -> str:
    rows = []
    for one in measured:
        for name in sorted({name for found in one.evaluations for name in found.attacks}):
            rates = [found.attacks[name] for found in one.evaluations]
            rows.append((one.name, name, f"{rates[0].n:,}", *(f"{rate.rate or 0.0:.2%}" for rate in rates)))
    budgets = [f"{found.budget:g}" for found in measured[0].evaluations]
    return table("True positives by attack and budget", ("data", "attack", "n", *budgets), rows)


def _share(rate: Rate, digits: int = 2) -> str:
    if rate.rate is None:
        return "-"
    return f"{100 * rate.rate:.{digits}f} ({100 * rate.low:.{digits}f}-{100 * rate.high:.{digits}f})"
