"""One workload on its way through the passes of training, and what comes of it.

In: its calls as batches, in time order, once for each pass. Out: its model with calibration and volume, and its description. The
passes themselves are `train.py`'s.
"""

from collections import Counter as Tally
from collections.abc import Callable, Collection, Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np

from authz_server.engine.endpoint import path_parameters
from authz_server.engine.finding import FindingCode
from authz_server.engine.history import IDLE_SECONDS, CallerHistory, History, add_step
from authz_server.engine.model import ReadyModel, WorkloadModel
from trainer.batch import Batch, Ids, Mask
from trainer.batch_callers import to_callers
from trainer.calibrate import PARTS, CalibrationLearner
from trainer.description import Description
from trainer.description_learner import DescriptionLearner
from trainer.eligible import caller_of
from trainer.endpoint_cost import CostLearner
from trainer.fit_model import ModelLearner, Plan, finish_blocks
from trainer.fit_volume import VolumeLearner
from trainer.held_out import HeldOut, capped, to_odd_call
from trainer.lesson import Lesson, Taught, Values
from trainer.same_scale import to_same_scale
from trainer.scorer import Scorer
from trainer.support import WINDOWS
from trainer.survey import Survey
from trainer.suspects import Suspects, to_oddity

__all__ = ["BLOCKS", "MAX_SCORED", "Change", "Learned", "WorkloadLearner"]

BLOCKS: Final = 5
"""Blocks of time; each is scored by a model of the four fifths that are the others."""
MAX_SCORED: Final = 100_000
"""Calls of a workload that are scored, evenly spread where there are more: enough for p-values down to 1e-5."""
Change = Callable[[WorkloadModel], WorkloadModel]
"""Is applied to each model before it is calibrated: how `bench` switches checks off and keeps the calibration honest."""


class Learned(NamedTuple):
    """One workload: what judges its calls, and what people want to know beside."""

    model: WorkloadModel
    description: Description
    scores: CalibrationLearner


class WorkloadLearner:
    """One workload on its way through the passes."""

    def __init__(
        self, name: str, calls: int, change: Change, numeric: frozenset[FindingCode], mesh: Collection[str] = ()
    ) -> None:
        self._name = name
        self._change = change
        self._numeric = numeric
        self._calls = calls
        self._every = -(-calls // MAX_SCORED)
        self._survey = Survey(mesh)
        self._seen = 0

    def survey(self, batch: Batch) -> None:
        """Take calls in the first pass."""
        self._survey.learn(batch, self._windows(batch))

    def surveyed(self) -> int:
        """End the first pass; return how many calls teach."""
        self._plan = Plan(self._survey, self._numeric)
        self._endpoints = self._plan.endpoints
        self._positions = [path_parameters(endpoint) for endpoint in self._endpoints]
        self._place = {endpoint: place for place, endpoint in enumerate(self._endpoints)}
        self._blocks = [ModelLearner(self._plan) for _ in range(BLOCKS)]
        self._description = DescriptionLearner()
        self._costs = CostLearner()
        self._begin()
        return self._survey.teaching

    def learn(self, batch: Batch) -> None:
        """Take calls in the second pass."""
        window = self._windows(batch)
        endpoints = self._match(batch)
        place = np.array([self._place.get(endpoint, -1) for endpoint in endpoints], dtype=np.int64)
        failing = np.array([endpoint in self._plan.failing for endpoint in endpoints], dtype=np.bool_)
        taught = (place[batch.target] >= 0) & (batch.succeeded | (failing[batch.target] & batch.refused))
        self._description.learn(batch, endpoints, taught)
        self._costs.learn(batch, endpoints)
        values = Values(batch)
        callers, caller = to_callers(batch, self._plan.quorum.heavy)
        for block, learner in enumerate(self._blocks):
            rows = np.flatnonzero(taught & (window * BLOCKS // WINDOWS == block))
            if len(rows):
                at = place[batch.target[rows]]
                those = Taught(rows, self._endpoints, self._positions, at, window[rows], callers, caller[rows])
                learner.learn(Lesson(batch, values, those))
        self._step(batch, endpoints, window, taught)

    def _step(self, batch: Batch, endpoints: Sequence[str], window: Ids, taught: Mask) -> None:
        """Learn the order of each session's calls."""
        heavy = self._plan.quorum.heavy
        sessions = [sender.session for sender in batch.senders]
        callers = ["" if (caller := caller_of(sender)) in heavy else caller for sender in batch.senders]
        there = np.array([bool(session) for session in sessions], dtype=np.bool_)
        rows = np.flatnonzero(taught & there[batch.sender])
        columns = (batch.ts, batch.sender, batch.target, window, batch.succeeded)
        for ts, sender, target, at, well in zip(*(column[rows].tolist() for column in columns), strict=True):
            session, endpoint = sessions[sender], endpoints[target]
            history = self._caller(session, ts)
            if session not in heavy:
                self._blocks[at * BLOCKS // WINDOWS].step(endpoint, history, callers[sender], at)
            if well:
                add_step(history, endpoint)

    def learned(self) -> None:
        """End the second pass."""
        self._model, others = finish_blocks(self._plan, self._name, self._blocks)
        self._blocks.clear()
        self._models = [ReadyModel(self._change(model), "") for model in others]
        self._held_out = HeldOut()
        self._suspects = Suspects()
        self._volume = VolumeLearner(self._costs, self._survey.first_ts, self._survey.last_ts)
        self._begin()

    def score(self, batch: Batch) -> None:
        """Take calls in the third pass."""
        first = self._seen
        block = self._windows(batch) * BLOCKS // WINDOWS
        endpoints = self._match(batch)
        chosen = (np.arange(len(batch)) + first + 1) % self._every == 0
        if self._volume.counts:
            self._pace(batch, endpoints)
        for number in np.unique(block).tolist():
            rows = np.flatnonzero(block == number)
            scorer = Scorer(self._models[number], batch, rows[chosen[rows]])
            self._score(batch, first, number, rows, chosen, endpoints, scorer)

    def _pace(self, batch: Batch, endpoints: Sequence[str]) -> None:
        """Count how fast callers go."""
        footprints = [self._volume.footprint(batch.bare_call(target), endpoint) for target, endpoint in enumerate(endpoints)]
        columns = zip(batch.ts.tolist(), batch.sender.tolist(), batch.target.tolist(), batch.status, strict=True)
        senders = [(sender.session, sender.address) for sender in batch.senders]
        for ts, sender, target, status in columns:
            session, address = senders[sender]
            self._volume.visit(self._name, session, address, ts, footprints[target], status)

    def _score(
        self, batch: Batch, first: int, block: int, rows: Ids, chosen: Mask, endpoints: Sequence[str], scorer: Scorer
    ) -> None:
        """Score those of a block's calls that are `chosen`, and keep the histories of all; most calls have nothing odd."""
        senders = [(sender.session, caller_of(sender)) for sender in batch.senders]
        with_session = np.array([bool(session) for session, _ in senders], dtype=np.bool_)[batch.sender[rows]]
        unseen = chosen[rows] & ~(scorer.plain[rows] & scorer.known[rows])
        looked_at = rows[with_session | unseen]
        quiet = rows[chosen[rows] & ~with_session & ~unseen].tolist()
        columns = (looked_at, chosen[looked_at], batch.ts[looked_at], batch.sender[looked_at], batch.target[looked_at])
        well = batch.succeeded.tolist()
        for row, scored, ts, sender, target in zip(*(column.tolist() for column in columns), strict=True):
            session, caller = senders[sender]
            history = self._caller(session, ts) if session else None
            if scored:
                found = scorer.score(row, history)
                if found:
                    endpoint = scorer.endpoints[target]
                    oddity, what = to_oddity(endpoint, found)
                    who = f"{caller} {endpoint} {what}" if caller and caller not in self._plan.quorum.heavy else ""
                    part = (first + row) * PARTS // self._calls
                    self._held_out.update(to_odd_call(endpoint, block, part, caller, who, found))
                    self._suspects.update(caller, oddity, what)
                else:
                    quiet.append(row)
            if history is not None and endpoints[target] and well[row]:
                add_step(history, endpoints[target])
        for target, calls in Tally(batch.target[quiet].tolist()).items():
            self._held_out.count(scorer.endpoints[target], calls)
        for sender, calls in Tally(batch.sender[quiet].tolist()).items():
            self._suspects.count(senders[sender][1], calls)

    def suspects(self) -> frozenset[str]:
        """Tell, after the third pass, whose calls had better not have taught."""
        return self._suspects.finish(self._plan.quorum)

    def finish(self) -> Learned:
        """Make the model of all calls, with the calibration, and the description of what it knows."""
        others = [one.model for one in self._models]
        caps = self._held_out.caps(others, self._plan.quorum)
        scores = self._held_out.calibrate(others, caps)
        model = capped(to_same_scale(self._change(self._model), others), caps)
        model = msgspec.structs.replace(model, calibration=scores.finish(), volume=self._volume.finish())
        shared = model.shared.parameters.keys()
        known = {name: frozenset(profile.parameters.keys() | shared) for name, profile in model.endpoints.items()}
        return Learned(model, self._description.finish(self._name, known), scores)

    def _begin(self) -> None:
        self._seen = 0
        self._history = History(self._survey.first_ts)
        self._expires = self._survey.first_ts + IDLE_SECONDS

    def _caller(self, session: str, ts: float) -> CallerHistory:
        """Find a session's history; from time to time those that fell silent go, as in the server."""
        if ts >= self._expires:
            self._history.expire(ts)
            self._expires = ts + IDLE_SECONDS
        return self._history.caller(self._name, session, ts)

    def _windows(self, batch: Batch) -> Ids:
        """Tell in which of `WINDOWS` equal parts of the traffic each of the next calls is."""
        first, self._seen = self._seen, self._seen + len(batch)
        return np.arange(first, self._seen) * WINDOWS // self._calls

    def _match(self, batch: Batch) -> list[str]:
        """Find the endpoint of each target, empty: none."""
        table = self._plan.table
        return [table.match(target.method, batch.segments(number))[0] for number, target in enumerate(batch.targets)]
