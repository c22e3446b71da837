"""How good a bundle is on labelled calls: true and false positives with their intervals, and the area under the curve.

Judges as the server would, in time order, with every caller's history; rows whose split is `train` only fill the histories. The
false-positive rate is also given over distinct calls, since public data repeats itself.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
from sklearn.metrics import roc_auc_score

from authz_server.bundle import load_bundle
from authz_server.enforcement import load_enforcement
from authz_server.engine.call import Call
from authz_server.engine.counters import Counters
from authz_server.engine.decide import Judgement, decide
from authz_server.engine.errors import BundleError, FormatError, SettingError
from authz_server.engine.history import CallerHistory, History, Past, Snapshot, add_step
from authz_server.engine.model import ReadyModel
from authz_server.engine.observe import Observer
from authz_server.engine.pace import Paces, to_footprint
from authz_server.engine.record import CallRecord, to_parsed_call
from trainer.imports import iter_calls_file
from trainer.store import read_calls

__all__ = ["FEW", "Evaluation", "Rate", "evaluate", "evaluate_budgets", "evaluate_place", "wilson"]

_Z: Final = 1.959964
"""Two-sided 95 % of the normal distribution."""
FEW: Final = 100
"""Calls below which a figure says little by itself: of 99, half of them hits, the 95 % interval is 19 points wide."""
_UNNAMED: Final = "unnamed"
_NEVER: Final = 2.0
"""A p-value that no budget reaches."""


class Rate(msgspec.Struct, frozen=True):
    """`hits` of `n`, the `rate` (None without any) and its 95 % Wilson interval."""

    hits: int
    n: int
    rate: float | None
    low: float
    high: float

    @property
    def few(self) -> bool:
        """Whether it rests on so few calls that only its interval says something."""
        return 0 < self.n < FEW


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


class _Judged(msgspec.Struct, frozen=True, gc=False):
    """What came of one call: the attack's name, empty for a benign one; a p-value above 1 where there is no model."""

    attack: str
    p_value: float
    score: float
    reason: str


class _Tally:
    """All calls judged, whatever the budget."""

    def __init__(self) -> None:
        self.judged: list[_Judged] = []
        self.distinct: dict[tuple[object, ...], float] = {}
        self.no_model = 0

    def add(self, record: CallRecord, call: Call, judgement: Judgement | None) -> None:
        name = (record.attack or _UNNAMED) if record.label == 1 else ""
        if judgement is None:
            self.no_model += 1
            p_value, score, reason = _NEVER, 0.0, ""
        else:
            p_value, score = judgement.p_value, judgement.score
            reason = judgement.surprises[0].code.value if judgement.surprises else ""
        self.judged.append(_Judged(name, p_value, score, reason))
        if not name:
            self.distinct.setdefault(_identity(call), p_value)

    def auc(self) -> float | None:
        labels = [bool(one.attack) for one in self.judged]
        return float(roc_auc_score(labels, [one.score for one in self.judged])) if any(labels) and not all(labels) else None


def _at(tally: _Tally, revision: str, budget: float, auc: float | None) -> Evaluation:
    """Hold what was judged against one budget."""
    calls = Counter(one.attack for one in tally.judged)
    denied = [one for one in tally.judged if one.p_value <= budget]
    denials = Counter(one.attack for one in denied)
    reasons = Counter(f"{'attack' if one.attack else 'benign'}: {one.reason}" for one in denied)
    attacks = sorted(name for name in calls if name)
    return Evaluation(
        revision,
        budget,
        wilson(len(denied) - denials[""], len(tally.judged) - calls[""]),
        wilson(denials[""], calls[""]),
        wilson(sum(p_value <= budget for p_value in tally.distinct.values()), len(tally.distinct)),
        auc,
        {name: wilson(denials[name], calls[name]) for name in attacks},
        dict(reasons.most_common()),
        tally.no_model,
    )


def _identity(call: Call) -> tuple[object, ...]:
    """What makes two calls the same, apart from cookies and other headers."""
    values = tuple([(p.key, p.digest, p.text, p.number) for p in call.parameters if p.key[0] in "qb"])
    return call.workload, call.method, tuple([(s.text, s.digest) for s in call.segments]), values


def evaluate(records: Iterable[CallRecord], models: Mapping[str, ReadyModel], revision: str, budget: float) -> Evaluation:
    """Judge `records`, in time order, and count. A call of a workload without model is allowed, as the server would."""
    return evaluate_budgets(records, models, revision, [budget])[0]


def evaluate_budgets(
    records: Iterable[CallRecord], models: Mapping[str, ReadyModel], revision: str, budgets: Sequence[float]
) -> list[Evaluation]:
    """Judge `records` once, as `evaluate` does, and count for each budget.

    A call that is refused at each of them did nothing, as in the server: no step or error of its caller, no load of its workload.
    """
    tally = _Tally()
    strictest = min(budgets)
    histories: dict[str, History] = {}
    counters = Counters()
    for record in records:
        call = to_parsed_call(record)
        ready = models.get(record.workload)
        history = histories.setdefault(record.workload, History(record.ts))
        caller = history.caller(record.workload, record.session, record.ts) if record.session else None
        judgement = _judge(record, call, ready, caller, counters) if ready is not None else None
        succeeded = record.status is None or 100 <= record.status < 400
        if judgement is not None and judgement.p_value <= strictest and record.split != "train":
            _refuse(record, judgement, ready, counters, strictest)
        elif not succeeded:
            counters.fail(record.workload, record.session, _address(record), record.ts)
        elif caller is not None and judgement is not None and judgement.endpoint:
            add_step(caller, judgement.endpoint)
        if record.split != "train":
            tally.add(record, call, judgement)
    auc = tally.auc()
    return [_at(tally, revision, budget, auc) for budget in budgets]


def _judge(record: CallRecord, call: Call, ready: ReadyModel, caller: CallerHistory | None, counters: Counters) -> Judgement:
    match = ready.match(call)
    if ready.volume is None:
        return decide(call, ready, match, caller)
    past = _with_paces(caller, _count(record, call, ready, match[0], counters))
    return decide(call, ready, match, past)


def _count(record: CallRecord, call: Call, ready: ReadyModel, endpoint: str, counters: Counters) -> Paces:
    """Count a call, as the server does before it answers."""
    cost = ready.volume.cost(endpoint) if ready.volume is not None else 1.0
    footprint = to_footprint(call, endpoint, ready.positions.get(endpoint, ()), cost)
    return counters.visit(record.workload, record.session, _address(record), record.ts, footprint)


def _address(record: CallRecord) -> str:
    return record.address if record.address != record.session else ""


def _refuse(record: CallRecord, judgement: Judgement, ready: ReadyModel | None, counters: Counters, budget: float) -> None:
    """Take note of a refusal, as the server does."""
    volume = ready.volume if ready is not None else None
    if volume is not None:
        relief = volume.cost(judgement.endpoint) if judgement.own_p_value <= budget else None
        counters.refuse(record.workload, record.session, _address(record), record.ts, relief)


def _with_paces(caller: CallerHistory | None, paces: Paces) -> Past:
    if caller is None:
        return Snapshot(-1.0, {}, (), paces)
    return Snapshot(caller.watched, caller.ever, caller.recent, paces, caller.counts)


def evaluate_place(
    bundle: str, calls: str | None, store: str | None, budget: float, observer: Observer, policy: Path | None = None
) -> Evaluation:
    """Evaluate a published bundle on a file of calls or a store, exactly one of them. Raises MeshwardenError."""
    if (calls is None) == (store is None):
        raise SettingError("expected either --calls FILE or --store DIR")
    if not 0 < budget < 1:
        raise SettingError(f"--budget: expected a share between 0 and 1, got {budget}")
    loaded = load_bundle(bundle, observer.key_id)
    if not loaded.models:
        raise BundleError(f"{bundle}: expected a bundle published by `trainer train`, found none")
    if calls is not None:
        records = iter_calls_file(calls, observer, load_enforcement(policy))
    else:
        records = read_calls(store or "", key_id=observer.key_id)
    evaluation = evaluate(records, loaded.models, loaded.revision, budget)
    if not evaluation.true_positives.n + evaluation.false_positives.n:
        raise FormatError(f"{calls or store}: expected calls to judge, got none; those whose split is `train` are left out")
    return evaluation
