"""What each check earns: one after the other is switched off, in scoring and in calibration, and the rates are measured again.

A check is one FindingCode. What it costs is the time that `decide()` then saves. A check that takes nothing away when it is off
earns nothing here; on other data it may. The seeded shop is measured too, since public sets have no sessions.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from authz_server.bundle import Bundle
from authz_server.engine.call import Call
from authz_server.engine.finding import FindingCode
from authz_server.engine.model import ReadyModel, WorkloadModel
from authz_server.engine.observe import Observer
from authz_server.engine.profile import EndpointProfile, ParameterProfile
from authz_server.engine.record import CallRecord, to_parsed_call
from bench import workload
from bench.datasets import DROPPED_BY_DEFAULT, prepare
from bench.detection import files_or_default
from bench.stages import decide_us
from bench.table import median, table, write_json
from trainer.evaluate import Evaluation, evaluate_budgets
from trainer.importers.imported import ImportedCall, to_record
from trainer.imports import iter_calls_file
from trainer.train import train_calls

__all__ = ["BUDGET", "run", "without"]

BUDGET: Final = 0.001
_SHOP_CALLS: Final = 24_000
_TIMINGS: Final = 5
_TIMED_CALLS: Final = 4_000
_NOT_SCORED: Final = (
    *(FindingCode.NUMERIC_FOREST, FindingCode.NUMERIC_CLUSTER),
    *(code for code in FindingCode if code.name.startswith("PACE_")),
)
"""Not off by turns: no check of a call, what is off anyway (`bench/numeric.py`), and what `bench/volume.py` measures."""

Records = Callable[[], Iterable[CallRecord]]
Bundles = dict[FindingCode | None, Bundle]
"""By the check that is off."""


def without(model: WorkloadModel, code: FindingCode) -> WorkloadModel:
    """Switch one check off in a model."""
    sequence = model.sequence
    if code is FindingCode.PRECEDENCE:
        sequence = msgspec.structs.replace(sequence, rules={})
    if code is FindingCode.TRANSITION:
        sequence = msgspec.structs.replace(sequence, transitions={})
    return msgspec.structs.replace(
        model,
        endpoints={name: _endpoint(profile, code) for name, profile in model.endpoints.items()},
        shared=_endpoint(model.shared, code),
        sequence=sequence,
        surprises=_less(model.surprises, code),
    )


def _endpoint(profile: EndpointProfile, code: FindingCode) -> EndpointProfile:
    return msgspec.structs.replace(
        profile,
        parameters={key: _parameter(parameter, code) for key, parameter in profile.parameters.items()},
        surprises=_less(profile.surprises, code),
        required={} if code is FindingCode.MISSING_PARAMETER else profile.required,
        combinations=None if code is FindingCode.UNKNOWN_COMBINATION else profile.combinations,
    )


def _parameter(profile: ParameterProfile, code: FindingCode) -> ParameterProfile:
    """Switch a check of values off: its surprise and what it compares with, so that the time for it is saved too."""
    gone = {
        FindingCode.VALUE: {"values": None},
        FindingCode.RANGE: {"numbers": None},
        FindingCode.STRUCTURE: {"structures": None},
        FindingCode.SYMBOLS: {"symbols": None},
    }
    changes: dict[str, Any] = gone.get(code, {})
    return msgspec.structs.replace(profile, surprises=_less(profile.surprises, code), **changes)


def _less(surprises: dict[FindingCode, float], code: FindingCode) -> dict[FindingCode, float]:
    return {key: amount for key, amount in surprises.items() if key is not code}


class _Variant(msgspec.Struct, frozen=True):
    """Everything on (`off` None) or one check off: what was measured."""

    off: FindingCode | None
    evaluation: Evaluation
    decide_us: float


def run(files: Sequence[Path], budget: float = BUDGET, seed: int = 1) -> dict[str, list[_Variant]]:
    """Measure the shop and each file; print a table for each, write bench/out/ablation.json."""
    found: dict[str, list[_Variant]] = {}
    observer = Observer()
    learned = list(workload.records(seed, "learn", _SHOP_CALLS, observer))
    judged = list(_shop(seed, observer))
    found["shop (seeded)"] = _ablate("shop (seeded)", lambda: learned, lambda: judged, budget)
    for path in files_or_default(files):
        name = path.name.partition(".")[0]
        with tempfile.TemporaryDirectory(prefix="meshwarden-bench-") as place:
            prepared = prepare(path, Path(place), drop_headers=name in DROPPED_BY_DEFAULT, seed=seed)
            teach = list(iter_calls_file(str(prepared.train), observer))
            every = list(iter_calls_file(str(prepared.all), observer))
        found[name] = _ablate(name, lambda teach=teach: teach, lambda every=every: every, budget)  # type: ignore[misc]
    print(f"\nwritten to {write_json('ablation', {'budget': budget, 'seed': seed, 'data': found})}")
    return found


def _shop(seed: int, observer: Observer) -> Iterator[CallRecord]:
    """Make traffic of other days, and attacks among people's sessions."""
    yield from workload.records(seed, "judge", _SHOP_CALLS, observer)
    for number, data in enumerate(workload.abnormal(seed, "judge", 1_000)):
        attack = workload.ATTACKS[number % len(workload.ATTACKS)]
        imported = ImportedCall(number, workload.to_raw_call(data), 200, label=1, attack=attack)
        yield to_record(imported, observer, workload.SESSION, f"attack-{number:x}")


def _ablate(name: str, teach: Records, judge: Records, budget: float) -> list[_Variant]:
    print(f"{name}: everything on, then each check off", flush=True)
    codes = [None, *(code for code in FindingCode if code not in _NOT_SCORED)]
    bundles: Bundles = {code: _learn(teach, code) for code in codes}
    calls = [to_parsed_call(record) for record in judge()]
    times = _times(calls[:: max(1, len(calls) // _TIMED_CALLS)], bundles)
    variants = [
        _Variant(code, evaluate_budgets(judge(), bundle.models, bundle.revision, [budget])[0], times[code])
        for code, bundle in bundles.items()
    ]
    print("\n" + _table(name, variants, budget) + "\n")
    return variants


def _learn(teach: Records, code: FindingCode | None) -> Bundle:
    models = train_calls(teach, change=lambda model: model if code is None else without(model, code))
    return Bundle("bench", {model.workload: ReadyModel(model, "bench") for model in models})


def _times(calls: Sequence[Call], bundles: Bundles) -> dict[FindingCode | None, float]:
    """Time the variants in turns: the median of each one's p50."""
    spent: dict[FindingCode | None, list[float]] = {code: [] for code in bundles}
    for _ in range(_TIMINGS):
        for code, bundle in bundles.items():
            spent[code].append(decide_us(calls, bundle, len(calls))[0])
    return {code: median(times) for code, times in spent.items()}


def _table(name: str, variants: Sequence[_Variant], budget: float) -> str:
    full = variants[0]
    rows: list[tuple[object, ...]] = []
    for one in variants:
        true, false = one.evaluation.true_positives, one.evaluation.false_positives
        first = full.evaluation.reasons.get(f"attack: {one.off.value}", 0) if one.off else true.hits
        rows.append(
            (
                f"without {one.off.value}" if one.off else "everything on",
                f"{first:,}",
                f"{(true.rate or 0) * 100:.2f}",
                _change(true.rate, full.evaluation.true_positives.rate, one.off),
                f"{(false.rate or 0) * 100:.3f}",
                _change(false.rate, full.evaluation.false_positives.rate, one.off),
                "-" if one.evaluation.auc is None else f"{one.evaluation.auc:.5f}",
                f"{one.decide_us:.1f}",
                "" if one.off is None else f"{full.decide_us - one.decide_us:+.1f}",
            )
        )
    title = f"{name}, budget {budget:g}: what is lost without one check (first reason of: attacks it denies first of all)"
    header = ("", "first reason of", "TPR %", "points", "FPR %", "points", "AUC", "decide() p50 us", "saved us")
    return table(title, header, rows)


def _change(rate: float | None, full: float | None, off: FindingCode | None) -> str:
    return "" if off is None else f"{((rate or 0) - (full or 0)) * 100:+.3f}"
