"""One workload on its way through the passes of training, and what comes of it.

In: its calls, in time order, once for each pass. Out: its model with calibration and volume, and its description. The passes
themselves are `train.py`'s.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from authz_server.engine.decide import score, to_score
from authz_server.engine.edges import EDGE_CODES
from authz_server.engine.finding import FindingCode, Surprise
from authz_server.engine.history import CallerHistory, History, add_step
from authz_server.engine.model import ReadyModel, WorkloadModel
from authz_server.engine.record import CallRecord, to_parsed_call
from trainer.calibrate import CalibrationLearner
from trainer.description import Description, DescriptionLearner
from trainer.eligible import caller_of, succeeded, was_refused
from trainer.endpoint_cost import CostLearner
from trainer.fit_model import ModelLearner, Plan, merged
from trainer.fit_volume import VolumeLearner
from trainer.partial_record import SurveyedCall
from trainer.shape import to_shape
from trainer.support import WINDOWS
from trainer.survey import Survey
from trainer.suspects import Suspects

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
