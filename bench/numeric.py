"""What the numeric view earns: learned without, with the forest, with the clusters, with both; on the same calls each time.

`python -m bench.numeric [FILE...]` prints one table a file of the `calls` shape, or a store; none: the public files, and the
demo's store where there is one. Of a store the last two fifths are judged: false alarms and costs alone, if it has no attacks.
"""

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from authz_server.bundle import Bundle
from authz_server.engine.finding import FindingCode
from authz_server.engine.model import ReadyModel, encode_model
from authz_server.engine.observe import Observer
from authz_server.engine.record import CallRecord, to_parsed_call
from bench.datasets import DROPPED_BY_DEFAULT, prepare
from bench.detection import files_or_default
from bench.stages import decide_us
from bench.table import median, table, write_json
from trainer.evaluate import Evaluation, evaluate_budgets
from trainer.imports import iter_calls_file
from trainer.store import read_calls
from trainer.train import train_calls

__all__ = ["BUDGETS", "VARIANTS", "Earned", "ablate", "run"]

BUDGETS: Final = (0.01, 0.001, 0.0001)
VARIANTS: Final = {
    "without": frozenset[FindingCode](),
    "forest": frozenset({FindingCode.NUMERIC_FOREST}),
    "clusters": frozenset({FindingCode.NUMERIC_CLUSTER}),
    "both": frozenset({FindingCode.NUMERIC_FOREST, FindingCode.NUMERIC_CLUSTER}),
}
_DEMO: Final = Path(__file__).resolve().parents[1] / "demo" / "out" / "store" / "learn"
_TRAIN_SHARE: Final = 0.6
_TIMINGS: Final = 5
_TIMED_CALLS: Final = 4_000


class Earned(msgspec.Struct, frozen=True):
    """One file, one variant: the rates by budget, and the costs. `decide_us`: p50 and p99."""

    data: str
    variant: str
    evaluations: list[Evaluation]
    decide_us: tuple[float, float]
    train_seconds: float
    bundle_bytes: int


def ablate(files: Sequence[Path], seed: int = 1) -> list[Earned]:
    """Measure every variant on each file, or on each directory, which is a store."""
    rows: list[Earned] = []
    for path in files:
        name = str(path.relative_to(_DEMO.parents[3])) if path == _DEMO else path.name.partition(".")[0]
        teach, judge = _store(path) if path.is_dir() else _file(path, name, seed)
        rows += _variants(name, teach, judge)
    return rows


def _file(path: Path, name: str, seed: int) -> tuple[list[CallRecord], list[CallRecord]]:
    observer = Observer()
    with tempfile.TemporaryDirectory(prefix="meshwarden-bench-") as place:
        prepared = prepare(path, Path(place), drop_headers=name in DROPPED_BY_DEFAULT, seed=seed)
        teach = list(iter_calls_file(str(prepared.train), observer))
        judge = list(iter_calls_file(str(prepared.all), observer))
    # The sample goes by ids, which are made of the file's place: here of the seed, so that a run can be repeated.
    return [msgspec.structs.replace(record, id=f"{seed}-{n}") for n, record in enumerate(teach)], judge


def _store(path: Path) -> tuple[list[CallRecord], list[CallRecord]]:
    calls = list(read_calls(str(path)))
    first = int(len(calls) * _TRAIN_SHARE)
    teach = [msgspec.structs.replace(record, split="train") for record in calls[:first]]
    return teach, [*teach, *(msgspec.structs.replace(record, split="test") for record in calls[first:])]


def _variants(name: str, teach: list[CallRecord], judge: list[CallRecord]) -> list[Earned]:
    bundles, costs = {}, {}
    for variant, codes in VARIANTS.items():
        began = time.process_time()
        models = train_calls(lambda: teach, numeric=codes)
        costs[variant] = time.process_time() - began, sum(len(encode_model(model)) for model in models)
        bundles[variant] = Bundle("bench", {model.workload: ReadyModel(model, "bench") for model in models})
    calls = [to_parsed_call(record) for record in judge[:: max(1, len(judge) // _TIMED_CALLS)]]
    times: dict[str, list[tuple[float, float]]] = {variant: [] for variant in VARIANTS}
    for _ in range(_TIMINGS):
        for variant, bundle in bundles.items():
            times[variant].append(decide_us(calls, bundle, len(calls)))
    return [
        Earned(
            name,
            variant,
            evaluate_budgets(judge, bundle.models, bundle.revision, BUDGETS),
            (median([one[0] for one in times[variant]]), median([one[1] for one in times[variant]])),
            *costs[variant],
        )
        for variant, bundle in bundles.items()
    ]


def run(files: Sequence[Path] = (), seed: int = 1) -> list[Earned]:
    """Measure the files; print the tables, write bench/out/numeric.json."""
    wanted = files_or_default([path for path in files if not path.is_dir()]) if not files or any(map(Path.is_file, files)) else []
    stores = [path for path in files if path.is_dir()] or ([_DEMO] if not files and _DEMO.is_dir() else [])
    rows = ablate([*wanted, *stores], seed)
    for name in dict.fromkeys(row.data for row in rows):
        print("\n" + _table(name, [row for row in rows if row.data == name]))
    print(f"\nwritten to {write_json('numeric', {'seed': seed, 'rows': rows})}")
    return rows


def _table(name: str, rows: Sequence[Earned]) -> str:
    rates = [f"{what} % at {budget:g}" for budget in BUDGETS for what in ("TPR", "FPR")]
    header = ("", *rates, "AUC", "decide() p50 us", "p99 us", "training s", "bundle kB")
    return table(f"{name}: what the numeric view adds", header, [_row(row) for row in rows])


def _row(row: Earned) -> tuple[object, ...]:
    rates = []
    for found in row.evaluations:
        true, false = found.true_positives.rate, found.false_positives.rate
        rates += ["-" if true is None else f"{true * 100:.2f}", "-" if false is None else f"{false * 100:.3f}"]
    auc = row.evaluations[0].auc
    return (
        row.variant,
        *rates,
        "-" if auc is None else f"{auc:.5f}",
        f"{row.decide_us[0]:.1f}",
        f"{row.decide_us[1]:.1f}",
        f"{row.train_seconds:.1f}",
        f"{row.bundle_bytes / 1000:.0f}",
    )


if __name__ == "__main__":
    run([Path(argument) for argument in sys.argv[1:]])
