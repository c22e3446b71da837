"""From a store of calls to a bundle: the trainer's main line.

Four passes over the store, in time order: count; survey (`survey.py`: which endpoints there are, how callers behave); learn
(`fit_model.py`), in `BLOCKS` blocks of time; and score the calls of each block with what all the other blocks taught, which
calibrates. So what is published knows all calls, and its p-values come from calls that the scoring model had not seen
(cross-conformal prediction, Vovk 2015). The blocks are contiguous, so that what is new comes to each scoring model as it comes
in life.
"""

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from typing import Final, NamedTuple, Protocol, TypeVar, cast

import msgspec
from joblib import Parallel, delayed, effective_n_jobs

from authz_server.bundle import write_bundle
from authz_server.engine.calibration import MESH
from authz_server.engine.decide import score, to_score
from authz_server.engine.edges import EDGE_CODES
from authz_server.engine.endpoint import EndpointTable
from authz_server.engine.errors import SettingError, TrainingError
from authz_server.engine.finding import FindingCode, Surprise
from authz_server.engine.history import CallerHistory, History, add_step
from authz_server.engine.model import Manifest, ReadyModel, WorkloadModel
from authz_server.engine.record import CallRecord, to_parsed_call
from trainer.calibrate import MIN_OWN, CalibrationLearner, mesh_calibration
from trainer.description import Description, DescriptionLearner, encode_description
from trainer.eligible import calibrates, caller_of, succeeded, was_refused
from trainer.endpoint_cost import CostLearner
from trainer.fit_follow import FollowLearner
from trainer.fit_model import NUMERIC, ModelLearner, Plan, merged
from trainer.fit_volume import VolumeLearner
from trainer.partial_record import CountedCall, SurveyedCall
from trainer.shape import to_shape
from trainer.store import scan
from trainer.support import WINDOWS
from trainer.survey import Survey
from trainer.suspects import Suspects

__all__ = ["BLOCKS", "MAX_SCORED", "Learned", "learn_calls", "train", "train_calls"]

BLOCKS: Final = 5
"""Blocks of time; each is scored by a model of the four fifths that are the others."""
MAX_SCORED: Final = 100_000
"""Calls of a workload that are scored, evenly spread where there are more: enough for p-values down to 1e-5."""
_log = logging.getLogger(__name__)

_MIN_WORKLOADS: Final = 2
"""Workloads without which nobody in the mesh calls anybody."""
_MIN_CALLS: Final = 50
"""Below this many teaching calls a workload gets no model: it is watched on."""

Record = TypeVar("Record", bound=CallRecord | CountedCall | SurveyedCall)
Progress = Callable[[str, int, int], None]
"""Is told a phase, calls done and calls in all."""
Change = Callable[[WorkloadModel], WorkloadModel]
"""Is applied to each model before it is calibrated: how `bench` switches checks off and keeps the calibration honest."""


class Source(Protocol):
    """Where calls come from: the same ones in time order each time, with all fields or with those that a pass needs."""

    def __call__(self, record_type: type[Record], /) -> Iterable[Record]:
        """Read them all."""


class Learned(NamedTuple):
    """One workload: what judges its calls, and what people want to know beside."""

    model: WorkloadModel
    description: Description
    scores: CalibrationLearner


class _Workload:
    """One workload on its way through the passes."""

    def __init__(self, name: str, calls: int, change: Change, numeric: frozenset[FindingCode]) -> None:
        self._name = name
        self._change = change
        self._numeric = numeric
        self._calls = calls
        self._every = -(-calls // MAX_SCORED)
        self._survey = Survey()
        self._seen = 0

    def survey(self, record: CallRecord | SurveyedCall) -> None:
        """Take one call in the second pass."""
        self._survey.update(record, self._next(WINDOWS))

    def surveyed(self) -> int:
        """End the second pass; return how many calls teach."""
        self._plan = Plan(self._survey, self._numeric)
        self._blocks = [ModelLearner(self._plan) for _ in range(BLOCKS)]
        self._block = 0
        self._description = DescriptionLearner()
        self._costs = CostLearner()
        self._begin()
        return self._survey.teaching

    def learn(self, record: CallRecord) -> None:
        """Take one call in the third pass."""
        window = self._next(WINDOWS)
        well = succeeded(record)
        call = to_parsed_call(record)
        endpoint, _ = self._plan.table.match(call.method, call.segments)
        taught = bool(endpoint) and (well or (endpoint in self._plan.failing and was_refused(record)))
        shape = to_shape(call)
        self._description.update(record, call, endpoint, taught=taught, shape=shape)
        self._costs.update(record, endpoint)
        if taught:
            history = self._caller(record)
            block = window * BLOCKS // WINDOWS
            if block != self._block:
                self._blocks[self._block].settle()
                self._block = block
            self._blocks[block].update(record, call, endpoint, history, window, shape)
            if history is not None and well:
                add_step(history, endpoint)

    def learned(self) -> None:
        """End the third pass."""
        others = [[one for j, one in enumerate(self._blocks) if j != block] for block in range(BLOCKS)]
        share = 1 - 1 / BLOCKS
        models = [merged(self._plan, rest).finish(self._name, share) for rest in others]
        self._models = [ReadyModel(self._change(model), "") for model in models]
        self._calibration = CalibrationLearner()
        self._suspects = Suspects()
        self._volume = VolumeLearner(self._costs, self._survey.first_ts, self._survey.last_ts)
        self._begin()

    def score(self, record: CallRecord) -> None:
        """Take one call in the fourth pass."""
        ready = self._models[self._next(WINDOWS) * BLOCKS // WINDOWS]
        history = self._caller(record)
        chosen = self._seen % self._every == 0
        call = to_parsed_call(record)
        endpoint, _ = self._plan.table.match(call.method, call.segments)
        self._volume.update(record, call, endpoint)
        if chosen:
            match = ready.match(call)
            found = score(call, ready, match, history)
            self._calibration.update(match[0], to_score(found))
            self._suspects.update(caller_of(record), *_oddity(match[0], found))
        if history is not None and endpoint and succeeded(record):
            add_step(history, endpoint)

    def suspects(self) -> frozenset[str]:
        """Tell, after the fourth pass, whose calls had better not have taught."""
        return self._suspects.finish(self._plan.quorum)

    def finish(self) -> Learned:
        """Make the model of all calls, with the calibration, and the description of what it knows."""
        model = self._change(merged(self._plan, self._blocks).finish(self._name))
        model = msgspec.structs.replace(model, calibration=self._calibration.finish(), volume=self._volume.finish())
        shared = model.shared.parameters.keys()
        known = {name: frozenset(profile.parameters.keys() | shared) for name, profile in model.endpoints.items()}
        return Learned(model, self._description.finish(self._name, known), self._calibration)

    def _begin(self) -> None:
        self._seen = 0
        self._history = History(self._survey.first_ts)

    def _next(self, parts: int) -> int:
        """Tell in which of so many equal parts of the traffic the next call is."""
        part = self._seen * parts // self._calls
        self._seen += 1
        return part

    def _caller(self, record: CallRecord) -> CallerHistory | None:
        return self._history.caller(self._name, record.session, record.ts) if record.session else None


def _oddity(endpoint: str, found: list[Surprise]) -> tuple[float, str]:
    """Tell how odd a call is apart from who calls, and name the oddest thing about it."""
    odd = [one for one in found if one.code not in EDGE_CODES]
    if not odd:
        return 0.0, ""
    most = max(odd, key=lambda one: one.amount)
    return to_score(odd), f"{endpoint} {most.code} {most.key} {most.seen}"


def train_calls(
    records: Callable[[], Iterable[CallRecord]],
    progress: Progress = lambda *_: None,
    change: Change = lambda model: model,
    numeric: frozenset[FindingCode] = NUMERIC,
) -> list[WorkloadModel]:
    """Learn the models alone; as `learn_calls`."""
    return [learned.model for learned in learn_calls(records, progress, change, numeric)]


def learn_calls(
    records: Callable[[], Iterable[CallRecord]],
    progress: Progress = lambda *_: None,
    change: Change = lambda model: model,
    numeric: frozenset[FindingCode] = NUMERIC,
) -> list[Learned]:
    """Learn every workload of `records`, which must give the same calls in time order each time it is called.

    `numeric`: the models of the numeric view that are learned too.

    Where callers turn out to be suspects (`suspects.py`), their workload is learned again without them, up to twice.

    Raises TrainingError when no workload has enough calls.
    """
    source = _whole(records)
    return _together(_learn_workloads(source, progress, change, numeric), source)


def _whole(records: Callable[[], Iterable[CallRecord]]) -> Source:
    """Give records in memory as they are, whichever fields are asked for: they have them all."""

    def read(_: type[Record], /) -> Iterable[Record]:
        return cast("Iterable[Record]", records())

    return read


def _learn_workloads(
    source: Source,
    progress: Progress = lambda *_: None,
    change: Change = lambda model: model,
    numeric: frozenset[FindingCode] = NUMERIC,
) -> list[Learned]:
    learned: dict[str, Learned] = {}
    left_out: dict[str, frozenset[str]] = {}
    for last in (False, False, True):
        found = _round(source, left_out, learned.keys() - left_out.keys(), progress, change, numeric)
        learned |= {name: workload.finish() for name, workload in found.items()}
        suspects = {name: workload.suspects() - left_out.get(name, frozenset()) for name, workload in found.items()}
        suspects = {name: callers for name, callers in suspects.items() if callers}
        if last or not suspects:
            break
        for name, callers in suspects.items():
            _log.warning("callers_left_out", extra={"fields": {"workload": name, "callers": len(callers)}})
        left_out = {name: callers | left_out.get(name, frozenset()) for name, callers in suspects.items()}
    return [one for _, one in sorted(learned.items())]


def _together(learned: list[Learned], source: Source) -> list[Learned]:
    """Learn what only all workloads together tell: which calls follow which, in one more pass, and how odd calls are anywhere."""
    if len(learned) < _MIN_WORKLOADS:
        return learned
    return _with_follows(_with_mesh(learned), source)


def _with_mesh(learned: list[Learned]) -> list[Learned]:
    """Give small workloads the mesh's calibration beside their own."""
    mesh = mesh_calibration(one.scores for one in learned)
    return [
        one._replace(model=msgspec.structs.replace(one.model, calibration={**one.model.calibration, MESH: mesh}))
        if one.model.calibration[""].n < MIN_OWN
        else one
        for one in learned
    ]


def _with_follows(learned: list[Learned], source: Source) -> list[Learned]:
    tables = {one.model.workload: EndpointTable(one.model.endpoints) for one in learned}
    learner = FollowLearner()
    for record in source(SurveyedCall):
        table = tables.get(record.workload)
        if table is not None and record.split != "test" and record.label != 1:
            learner.update(record, table.match(record.method, record.segments)[0])
    follows = learner.finish()
    return [
        one._replace(model=msgspec.structs.replace(one.model, follows=follows.get(one.model.workload, {}))) for one in learned
    ]


def _round(
    source: Source,
    left_out: Mapping[str, frozenset[str]],
    done: Collection[str],
    progress: Progress,
    change: Change,
    numeric: frozenset[FindingCode],
) -> dict[str, _Workload]:
    """Run the four passes for all workloads but those that are `done`, without the callers that are `left_out`."""

    def eligible(record_type: type[Record]) -> Iterator[Record]:
        return (
            one
            for one in source(record_type)
            if calibrates(one) and one.workload not in done and not (left_out and _is_left_out(one, left_out))
        )

    counts: dict[str, int] = {}
    for counted in eligible(CountedCall):
        counts[counted.workload] = counts.get(counted.workload, 0) + 1
    total = sum(counts.values())
    workloads = {name: _Workload(name, calls, change, numeric) for name, calls in sorted(counts.items())}
    for record in _watched(eligible(SurveyedCall), "survey", total, progress):
        workloads[record.workload].survey(record)
    teaching = {name: workload.surveyed() for name, workload in workloads.items()}
    workloads = {name: workload for name, workload in workloads.items() if teaching[name] >= _MIN_CALLS}
    if not workloads and not done:
        found = ", ".join(f"{name or 'unnamed'}: {calls}" for name, calls in teaching.items()) or "none at all"
        raise TrainingError(f"expected at least {_MIN_CALLS} successful calls of one workload, got {found}")
    _learn_and_score(workloads, lambda: eligible(CallRecord), total, progress)
    return workloads


def _learn_and_score(
    workloads: Mapping[str, _Workload], eligible: Callable[[], Iterator[CallRecord]], total: int, progress: Progress
) -> None:
    for record in _watched(eligible(), "learn", total, progress):
        if record.workload in workloads:
            workloads[record.workload].learn(record)
    for workload in workloads.values():
        workload.learned()
    for record in _watched(eligible(), "calibrate", total, progress):
        if record.workload in workloads:
            workloads[record.workload].score(record)


def _is_left_out(record: CallRecord | CountedCall | SurveyedCall, left_out: Mapping[str, frozenset[str]]) -> bool:
    callers = left_out.get(record.workload)
    return callers is not None and caller_of(record) in callers


def _watched(records: Iterable[Record], phase: str, total: int, progress: Progress) -> Iterator[Record]:
    for done, record in enumerate(records, 1):
        yield record
        if done % 1000 == 0 or done == total:
            progress(phase, done, total)


def train(store: str, out: str, key_id: str, jobs: int = 1, progress: Progress = lambda *_: None) -> Manifest:
    """Learn a store and publish the bundle; with `jobs` other than 1 the workloads are shared out among processes."""
    if jobs < -1 or jobs == 0:
        raise SettingError(f"jobs: expected a number of processes, or -1 for one a core, got {jobs}")
    if jobs == 1:
        source = partial(scan, store)
        learned = _together(_learn_workloads(source, progress), source)
    else:
        parts = effective_n_jobs(jobs)
        found = Parallel(n_jobs=parts)(delayed(_train_part)(store, part, parts) for part in range(parts))
        learned = sorted((one for part in found for one in part), key=lambda one: one.model.workload)
        if not learned:
            raise TrainingError(
                f"expected at least {_MIN_CALLS} successful calls of one workload, found no workload with as many"
            )
        learned = _together(learned, partial(scan, store))
    descriptions = {one.model.workload: encode_description(one.description) for one in learned}
    return write_bundle(out, [one.model for one in learned], time.time(), key_id, descriptions)


def _train_part(store: str, part: int, parts: int) -> list[Learned]:
    def mine(record_type: type[Record], /) -> Iterator[Record]:
        return (record for record in scan(store, record_type) if sum(record.workload.encode()) % parts == part)

    try:
        return _learn_workloads(mine)
    except TrainingError:
        return []
