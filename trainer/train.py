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
from typing import Final, Protocol, TypeVar, cast

import msgspec
from joblib import Parallel, delayed, effective_n_jobs

from authz_server.bundle import write_bundle
from authz_server.engine.calibration import MESH
from authz_server.engine.endpoint import EndpointTable
from authz_server.engine.errors import SettingError, TrainingError
from authz_server.engine.finding import FindingCode
from authz_server.engine.model import Manifest, WorkloadModel
from authz_server.engine.record import CallRecord
from trainer.calibrate import MIN_OWN, mesh_calibration
from trainer.description import encode_description
from trainer.eligible import calibrates, caller_of
from trainer.fit_follow import FollowLearner
from trainer.fit_model import NUMERIC
from trainer.keys import need_own_place
from trainer.partial_record import CountedCall, SurveyedCall
from trainer.store import scan
from trainer.workload_learner import BLOCKS, MAX_SCORED, Change, Learned, WorkloadLearner

__all__ = ["BLOCKS", "MAX_SCORED", "Learned", "learn_calls", "train", "train_calls"]

_log = logging.getLogger(__name__)

_MIN_WORKLOADS: Final = 2
"""Workloads without which nobody in the mesh calls anybody."""
_MIN_CALLS: Final = 50
"""Below this many teaching calls a workload gets no model: it is watched on."""

Record = TypeVar("Record", bound=CallRecord | CountedCall | SurveyedCall)
Progress = Callable[[str, int, int], None]
"""Is told a phase, calls done and calls in all."""


class Source(Protocol):
    """Where calls come from: the same ones in time order each time, with all fields or with those that a pass needs."""

    def __call__(self, record_type: type[Record], /) -> Iterable[Record]:
        """Read them all."""


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
) -> dict[str, WorkloadLearner]:
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
    workloads = {name: WorkloadLearner(name, calls, change, numeric) for name, calls in sorted(counts.items())}
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
    workloads: Mapping[str, WorkloadLearner], eligible: Callable[[], Iterator[CallRecord]], total: int, progress: Progress
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
    """Learn a store's calls under one hash key and publish the bundle; with `jobs` other than 1 processes share the workloads.

    Raises StoreError where the calls, BundleError where the bundles at `out` are under another key.
    """
    if jobs < -1 or jobs == 0:
        raise SettingError(f"jobs: expected a number of processes, or -1 for one a core, got {jobs}")
    need_own_place(out, key_id)
    if jobs == 1:
        source = partial(scan, store, key_id=key_id)
        learned = _together(_learn_workloads(source, progress), source)
    else:
        parts = effective_n_jobs(jobs)
        found = Parallel(n_jobs=parts)(delayed(_train_part)(store, key_id, part, parts) for part in range(parts))
        learned = sorted((one for part in found for one in part), key=lambda one: one.model.workload)
        if not learned:
            raise TrainingError(
                f"expected at least {_MIN_CALLS} successful calls of one workload, found no workload with as many"
            )
        learned = _together(learned, partial(scan, store, key_id=key_id))
    descriptions = {one.model.workload: encode_description(one.description) for one in learned}
    return write_bundle(out, [one.model for one in learned], time.time(), key_id, descriptions)


def _train_part(store: str, key_id: str, part: int, parts: int) -> list[Learned]:
    def mine(record_type: type[Record], /) -> Iterator[Record]:
        return (record for record in scan(store, record_type, key_id=key_id) if sum(record.workload.encode()) % parts == part)

    try:
        return _learn_workloads(mine)
    except TrainingError:
        return []
