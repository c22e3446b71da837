"""How good a bundle is on labelled calls: true and false positives with their intervals, and the area under the curve.

Judges as the server would, in time order, with every caller's history; rows whose split is `train` only fill the histories. The
false-positive rate is also given over distinct calls, since public data repeats itself.
"""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec
from sklearn.metrics import roc_auc_score

from authz_server.bundle import load_bundle
from authz_server.enforcement import load_enforcement
from authz_server.engine.call import Call
from authz_server.engine.decide import Judgement, decide
from authz_server.engine.errors import SettingError
from authz_server.engine.history import History, add_step
from authz_server.engine.model import ReadyModel
from authz_server.engine.observe import Observer
from authz_server.engine.record import CallRecord, to_parsed_call
from trainer.imports import iter_calls_file
from trainer.store import read_calls

__all__ = ["Evaluation", "Rate", "evaluate", "evaluate_place", "wilson"]

_Z: Final = 1.959964
"""Two-sided 95 % of the normal distribution."""
_UNNAMED: Final = "unnamed"


class Rate(msgspec.Struct, frozen=True):
    """`hits` of `n`, the `rate` (None without any) and its 95 % Wilson interval."""

    hits: int
    n: int
    rate: float | None
    low: float
    high: float


class Evaluation(msgspec.Struct, frozen=True):
    """The result at one budget.

    `auc` is None unless there were both attacks and benign calls; `no_model` counts calls nobody could judge.
    """

    revision: str
    budget: float
    true_positives: Rate
    false_positives: Rate
    distinct_false_positives: Rate
    auc: float | None
    attacks: dict[str, Rate]
    reasons: dict[str, int]
    no_model: int


def wilson(hits: int, n: int) -> Rate:
    """Estimate a rate with its interval (Wilson 1927), which is right for rates near 0 and 1 too.

    >>> wilson(0, 1000).high < 0.004
    True
    """
    if n == 0:
        return Rate(0, 0, None, 0.0, 1.0)
    p, z2 = hits / n, _Z * _Z
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return Rate(hits, n, p, max(0.0, middle - half), min(1.0, middle + half))


class _Tally:
    def __init__(self, budget: float) -> None:
        self.budget = budget
        self.counts: dict[tuple[str, bool], int] = {}
        self.distinct: dict[tuple[object, ...], bool] = {}
        self.reasons: dict[str, int] = {}
        self.labels: list[bool] = []
        self.scores: list[float] = []
        self.no_model = 0

    def add(self, record: CallRecord, call: Call, judgement: Judgement | None) -> None:
        attack = record.label == 1
        denied = judgement is not None and judgement.p_value <= self.budget
        name = (record.attack or _UNNAMED) if attack else ""
        self.counts[name, denied] = self.counts.get((name, denied), 0) + 1
        self.no_model += judgement is None
        self.labels.append(attack)
        self.scores.append(judgement.score if judgement is not None else 0.0)
        if judgement is not None and denied:
            reason = f"{'attack' if attack else 'benign'}: {judgement.surprises[0].code.value}"
            self.reasons[reason] = self.reasons.get(reason, 0) + 1
        if not attack:
            self.distinct.setdefault(_identity(call), denied)

    def rate(self, names: Iterable[str]) -> Rate:
        wanted = set(names)
        hits = sum(count for (name, denied), count in self.counts.items() if name in wanted and denied)
        return wilson(hits, sum(count for (name, _), count in self.counts.items() if name in wanted))


def _identity(call: Call) -> tuple[object, ...]:
    """What makes two calls the same, apart from cookies and other headers."""
    values = tuple([(p.key, p.digest, p.text, p.number) for p in call.parameters if p.key[0] in "qb"])
    return call.workload, call.method, tuple([(s.text, s.digest) for s in call.segments]), values


def evaluate(records: Iterable[CallRecord], models: Mapping[str, ReadyModel], revision: str, budget: float) -> Evaluation:
    """Judge `records`, in time order, and count. A call of a workload without model is allowed, as the server would."""
    tally = _Tally(budget)
    histories: dict[str, History] = {}
    for record in records:
        call = to_parsed_call(record)
        ready = models.get(record.workload)
        history = histories.setdefault(record.workload, History(record.ts))
        caller = history.caller(record.workload, record.session, record.ts) if record.session else None
        judgement = decide(call, ready, caller) if ready is not None else None
        succeeded = record.status is None or 100 <= record.status < 400
        if caller is not None and judgement is not None and judgement.endpoint and succeeded:
            add_step(caller, judgement.endpoint)
        if record.split != "train":
            tally.add(record, call, judgement)
    attacks = sorted({name for name, _ in tally.counts if name})
    both = any(tally.labels) and not all(tally.labels)
    distinct = list(tally.distinct.values())
    return Evaluation(
        revision,
        budget,
        tally.rate(attacks),
        tally.rate([""]),
        wilson(sum(distinct), len(distinct)),
        float(roc_auc_score(tally.labels, tally.scores)) if both else None,
        {name: tally.rate([name]) for name in attacks},
        dict(sorted(tally.reasons.items(), key=lambda item: -item[1])),
        tally.no_model,
    )


def evaluate_place(
    bundle: str, calls: str | None, store: str | None, budget: float, observer: Observer, policy: Path | None = None
) -> Evaluation:
    """Evaluate a published bundle on a file of calls or a store, exactly one of them. Raises MeshwardenError."""
    if (calls is None) == (store is None):
        raise SettingError("expected either --calls FILE or --store DIR")
    if not 0 < budget < 1:
        raise SettingError(f"--budget: expected a share between 0 and 1, got {budget}")
    loaded = load_bundle(bundle, observer.key_id)
    records = iter_calls_file(calls, observer, load_enforcement(policy)) if calls is not None else read_calls(store or "")
    return evaluate(records, loaded.models, loaded.revision, budget)
