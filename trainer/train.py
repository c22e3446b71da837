"""From a store of calls to a bundle: the trainer's main line.

The store is read once, into batches (`spool.py`). Then each workload by itself goes through three passes over its batches, in
time order: survey (`survey.py`: which endpoints there are, how callers behave); learn (`fit_model.py`), in `BLOCKS` blocks of
time; and score the calls of each block with what all the other blocks taught, which calibrates. So what is published knows all
calls, and its p-values come from calls that the scoring model had not seen (cross-conformal prediction, Vovk 2015). The blocks
are contiguous, so that what is new comes to each scoring model as it comes in life.
"""

import gc
import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Final

import msgspec
import numpy as np
from joblib import Parallel, delayed, effective_n_jobs

from authz_server.bundle import write_bundle
from authz_server.engine.calibration import MESH
from authz_server.engine.endpoint import EndpointTable
from authz_server.engine.errors import SettingError, TrainingError
from authz_server.engine.finding import FindingCode
from authz_server.engine.model import Manifest, WorkloadModel
from authz_server.engine.record import CallRecord
from trainer.batch import Batch
from trainer.calibrate import MIN_OWN, mesh_calibration
from trainer.description import encode_description
from trainer.eligible import caller_of
from trainer.fit_follow import FollowLearner
from trainer.fit_model import NUMERIC
from trainer.keys import need_own_place
from trainer.partial_record import StoredCall, to_stored
from trainer.spool import Batches, Spool
from trainer.store import scan
from trainer.workload_learner import BLOCKS, MAX_SCORED, Change, Learned, WorkloadLearner

__all__ = ["BLOCKS", "MAX_SCORED", "Learned", "learn_calls", "train", "train_calls"]

_log = logging.getLogger(__name__)

_MIN_WORKLOADS: Final = 2
"""Workloads without which nobody in the mesh calls anybody."""
_MIN_CALLS: Final = 50
"""Below this many teaching calls a workload gets no model: it is watched on."""

_COLLECTED: Final = 100_000
"""Objects made after which garbage is looked for, instead of some hundred, so that hardly any time goes into it."""

_KEPT: Final = 40_000
"""Calls of a workload that stay decoded between its passes."""
_ROUNDS: Final = 3
"""Times that a workload is learned, each time without those who turned out to be suspects before."""

Progress = Callable[[str, int, int], None]
"""Is told a phase, calls done and calls in all, 0 while nobody knows."""


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
    """Learn every workload of `records`, which must give calls in time order.

    `numeric`: the models of the numeric view that are learned too.

    Where callers turn out to be suspects (`suspects.py`), their workload is learned again without them, up to twice.

    Raises TrainingError when no workload has enough calls.
    """
    with Spool() as spool:
        spool.fill(to_stored(records()), lambda done: progress("read", done, 0))
        return _learn_spool(spool, progress, change, numeric)


def _learn_spool(
    spool: Spool,
    progress: Progress = lambda *_: None,
    change: Change = lambda model: model,
    numeric: frozenset[FindingCode] = NUMERIC,
    jobs: int = 1,
) -> list[Learned]:
    workloads = spool.workloads()
    mesh = frozenset(batches.workload for batches in workloads)
    if jobs == 1:
        watch = _Watch(progress, sum(batches.calls for batches in workloads))
        found = [_learn_workload(batches, watch, change, numeric, mesh) for batches in workloads]
    else:
        found = Parallel(n_jobs=effective_n_jobs(jobs))(delayed(_learn_workload)(batches, mesh=mesh) for batches in workloads)
    learned = [one for one in found if not isinstance(one, int)]
    if not learned:
        named = zip(workloads, found, strict=True)
        told = ", ".join(f"{batches.workload or 'unnamed'}: {teaching}" for batches, teaching in named) or "none at all"
        raise TrainingError(f"expected at least {_MIN_CALLS} successful calls of one workload, got {told}")
    return _with_follows(_with_mesh(learned), spool) if len(learned) >= _MIN_WORKLOADS else learned


def _learn_workload(
    batches: Batches,
    watch: Callable[[str, str, Iterable[Batch]], Iterable[Batch]] = lambda _phase, _workload, batches: batches,
    change: Change = lambda model: model,
    numeric: frozenset[FindingCode] = NUMERIC,
    mesh: Collection[str] = (),
) -> Learned | int:
    """Learn a workload of a mesh, again without its suspects where there are any; where too few calls teach, tell how many do."""
    name, calls = batches.workload, batches.calls
    read: Iterable[Batch] = batches if calls > _KEPT else list(batches)
    done: WorkloadLearner | None = None
    left_out: frozenset[str] = frozenset()
    for further in reversed(range(_ROUNDS)):
        learner = WorkloadLearner(name, calls, change, numeric, mesh)
        for batch in watch("survey", name, _without(read, left_out)):
            learner.survey(batch)
        teaching = learner.surveyed()
        if teaching < _MIN_CALLS and done is None:
            return teaching
        if teaching < _MIN_CALLS:
            break
        for batch in watch("learn", name, _without(read, left_out)):
            learner.learn(batch)
        learner.learned()
        for batch in watch("calibrate", name, _without(read, left_out)):
            learner.score(batch)
        done = learner
        suspects = learner.suspects() - left_out
        if not suspects or not further:
            break
        _log.warning("callers_left_out", extra={"fields": {"workload": name, "callers": len(suspects)}})
        left_out |= suspects
        calls = sum(map(len, _without(read, left_out)))
    assert done is not None  # the first round either made it or returned
    return done.finish()


def _without(batches: Iterable[Batch], left_out: frozenset[str]) -> Iterator[Batch]:
    for batch in batches:
        in_it = np.array([caller_of(sender) not in left_out for sender in batch.senders], dtype=np.bool_)
        kept = batch.only(in_it[batch.sender]) if left_out else batch
        if len(kept):
            yield kept


class _Watch:
    """Tells how far each phase is over all workloads, those learned again counted once."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._total = total
        self._done: dict[tuple[str, str], int] = {}

    def __call__(self, phase: str, workload: str, batches: Iterable[Batch]) -> Iterator[Batch]:
        done = 0
        for batch in batches:
            yield batch
            done += len(batch)
            self._done[phase, workload] = max(done, self._done.get((phase, workload), 0))
            self._progress(phase, sum(calls for (of, _), calls in self._done.items() if of == phase), self._total)


def _with_mesh(learned: list[Learned]) -> list[Learned]:
    """Give small workloads the mesh's calibration beside their own."""
    mesh = mesh_calibration(one.scores for one in learned)
    return [
        one._replace(model=msgspec.structs.replace(one.model, calibration={**one.model.calibration, MESH: mesh}))
        if one.model.calibration[""].n < MIN_OWN
        else one
        for one in learned
    ]


def _with_follows(learned: list[Learned], spool: Spool) -> list[Learned]:
    tables = {one.model.workload: EndpointTable(one.model.endpoints) for one in learned}
    learner = FollowLearner()
    for trail in spool.trails():
        learner.learn(trail, tables)
    follows = learner.finish()
    return [
        one._replace(model=msgspec.structs.replace(one.model, follows=follows.get(one.model.workload, {}))) for one in learned
    ]


def train(store: str, out: str, key_id: str, jobs: int = 1, progress: Progress = lambda *_: None) -> Manifest:
    """Learn a store's calls under one hash key and publish the bundle; with `jobs` other than 1 processes share the workloads.

    Raises StoreError where the calls, BundleError where the bundles at `out` are under another key.
    """
    if jobs < -1 or jobs == 0:
        raise SettingError(f"jobs: expected a number of processes, or -1 for one a core, got {jobs}")
    need_own_place(out, key_id)
    with Spool(shared=jobs != 1) as spool, _few_collections():
        spool.fill(scan(store, StoredCall, key_id=key_id), lambda done: progress("read", done, 0))
        learned = _learn_spool(spool, progress, jobs=jobs)
    descriptions = {one.model.workload: encode_description(one.description) for one in learned}
    return write_bundle(out, [one.model for one in learned], time.time(), key_id, descriptions)


@contextmanager
def _few_collections() -> Iterator[None]:
    """Look for garbage seldom: training makes millions of objects, none of which hold on to each other in circles."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(_COLLECTED, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
