"""Everything learned of one workload, given its survey (fits `engine/model.py`).

Mergeable: the model of some blocks of the traffic is made by the merge of their learners.
"""

from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from typing import Final

import msgspec

from authz_server.engine.endpoint import EndpointTable
from authz_server.engine.finding import FindingCode
from authz_server.engine.history import CallerHistory
from authz_server.engine.model import WorkloadModel
from authz_server.engine.numeric import NumericModel
from authz_server.engine.profile import EndpointProfile
from trainer.call_sample import CallSample
from trainer.fit_alphabet import fit_alphabet
from trainer.fit_edges import EdgeLearner
from trainer.fit_sequence import SequenceLearner
from trainer.kin import to_kin
from trainer.lesson import Lesson
from trainer.parameter_learner import ParameterLearner
from trainer.prior import Prior
from trainer.profiles_learner import ProfilesLearner
from trainer.segments import to_segments
from trainer.support import WINDOWS, Quorum
from trainer.survey import Survey
from trainer.written import to_written

__all__ = ["NUMERIC", "ModelLearner", "Plan", "finish_blocks"]

NUMERIC: Final[frozenset[FindingCode]] = frozenset()
"""The models of the numeric view that are learned by default: none earns its cost (`python -m bench.numeric`, 2026-11)."""
_MAX_SAMPLE: Final = 10_000
"""Calls of a workload that they are fitted on."""

_PERSISTENT: Final = WINDOWS // 2
"""Windows of the traffic in which an endpoint must have refused calls to be known by that alone: a scan comes and goes."""


class Plan:
    """What the learners of one workload have in common: whose word makes something normal, and which endpoints there are."""

    def __init__(self, survey: Survey, numeric: frozenset[FindingCode] = NUMERIC) -> None:
        """Take a survey; `numeric`: which models of the numeric view are learned."""
        self.survey = survey
        self.numeric = numeric
        self.quorum = survey.callers.finish()
        succeeding, self.rare_endpoints, self.rare_methods = survey.endpoints.finish(self.quorum)
        persistent, _, _ = survey.failing.finish(Quorum(self.quorum.heavy, _PERSISTENT))
        self.failing = frozenset(persistent)
        """Endpoints that clients call and are refused at all the time: what fails there is normal, and teaches too."""
        self.endpoints = sorted({*succeeding, *persistent})
        self.table = EndpointTable(self.endpoints)
        self.gap = survey.gaps.finish()


class ModelLearner:
    """Learns one workload's model from teaching calls; those at endpoints without quorum teach nothing."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._profiles = ProfilesLearner()
        self._sequence = SequenceLearner(plan.gap)
        self._edges = EdgeLearner()
        self._sample = CallSample(_MAX_SAMPLE if plan.numeric else 0)

    def learn(self, lesson: Lesson) -> None:
        """Learn what teaching calls say, each by itself."""
        self._profiles.learn(lesson)
        for window, endpoint, principal, times in lesson.principals():
            self._edges.update(endpoint, principal, window, times)
        if self._plan.numeric:
            self._take_samples(lesson)

    def step(self, endpoint: str, history: CallerHistory, caller: str, window: int) -> None:
        """Learn one step of a caller, an empty name for one that counts as anonymous, before it is added to its history."""
        self._sequence.update(endpoint, history, caller, window)

    def _take_samples(self, lesson: Lesson) -> None:
        batch, taught = lesson.batch, lesson.taught
        for row, endpoint, window in zip(taught.rows.tolist(), taught.endpoint.tolist(), taught.window.tolist(), strict=True):
            self._sample.update(batch.ids[row], partial(batch.call, row), taught.endpoints[endpoint], window)

    def merge(self, other: "ModelLearner") -> None:
        """Take over another's calls; the other stays as it is."""
        self._profiles.merge(other._profiles)
        self._sequence.merge(other._sequence)
        self._sample.merge(other._sample)
        self._edges.merge(other._edges)

    def finish(self, workload: str, share: float = 1.0) -> WorkloadModel:
        """Make the model, not yet calibrated; `share` of the workload's calls were seen, in (0, 1]."""
        plan, prior, shared = self._plan, Prior(share), self._profiles.shared
        profiles = {name: profile for name, profile in sorted(self._profiles.endpoints.items()) if plan.quorum.has(profile.total)}
        for profile in profiles.values():
            profile.pool(prior, plan.quorum)
        shared.pool(prior, plan.quorum)
        self._edges.pool(prior, plan.quorum)
        learners = {(name, key): one for name, profile in profiles.items() for key, one in profile.names.learners.items()}
        kin: dict[str, dict[str, ParameterLearner]] = defaultdict(dict)
        for (name, key), together in to_kin(learners, plan.quorum).items():
            kin[name][key] = together
        n = shared.total.count
        endpoints = {name: profile.finish(prior, plan.quorum, kin[name]) for name, profile in profiles.items()}
        return WorkloadModel(
            workload,
            n,
            plan.survey.first_ts,
            plan.survey.last_ts,
            endpoints,
            shared.finish(prior, plan.quorum),
            msgspec.structs.replace(self._sequence.finish(plan.quorum, share), populations=plan.quorum.heavy),
            {},
            self._surprises(n, prior),
            self._edges.finish(prior, plan.quorum),
            self._numeric(endpoints),
            written=to_written(learners, shared.names.learners, prior, plan.quorum),
            segments=to_segments(learners, {name: profile.total for name, profile in profiles.items()}, prior, plan.quorum),
            alphabet=fit_alphabet(((key, one) for (_, key), one in learners.items()), plan.quorum),
            shared_alphabet=fit_alphabet(shared.names.learners.items(), plan.quorum),
        )

    def _numeric(self, endpoints: dict[str, EndpointProfile]) -> NumericModel | None:
        """Fit the numeric view where it is asked for; scikit-learn takes a second to import, so only then."""
        if not self._plan.numeric:
            return None
        from trainer.fit_numeric import fit_numeric, to_rows

        return fit_numeric(to_rows(self._sample, endpoints), self._plan.numeric)

    def _surprises(self, n: int, prior: Prior) -> dict[FindingCode, float]:
        """How surprising an unknown endpoint or method is: contexts of their own, one a workload."""
        rare = {
            FindingCode.UNKNOWN_ENDPOINT: self._plan.rare_endpoints,
            FindingCode.UNKNOWN_METHOD: self._plan.rare_methods,
        }
        for code, count in rare.items():
            prior.add(code, n, count)
        return {code: prior.surprise(code, n, count) for code, count in rare.items()}


def finish_blocks(plan: Plan, workload: str, blocks: Sequence[ModelLearner]) -> tuple[WorkloadModel, list[WorkloadModel]]:
    """Make the model of all blocks, and for each block that of all the others."""
    share = 1 - 1 / len(blocks)
    later = [_copied(plan, blocks[-1])]  # what the last block taught, then what the last two did, and so on
    for block in reversed(blocks[1:-1]):
        later.append(_copied(plan, later[-1]))
        later[-1].merge(block)
    so_far = ModelLearner(plan)
    others = []
    for block in blocks[:-1]:
        rest = later.pop()
        rest.merge(so_far)
        others.append(rest.finish(workload, share))
        so_far.merge(block)
    others.append(so_far.finish(workload, share))
    so_far.merge(blocks[-1])
    return so_far.finish(workload), others


def _copied(plan: Plan, learner: ModelLearner) -> ModelLearner:
    copy = ModelLearner(plan)
    copy.merge(learner)
    return copy
