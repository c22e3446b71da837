"""Everything learned of one workload, given its survey (fits `engine/model.py`).

Mergeable: the model of some blocks of the traffic is made by the merge of their learners.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from authz_server.engine.call import Call
from authz_server.engine.endpoint import EndpointTable, path_parameters
from authz_server.engine.finding import FindingCode
from authz_server.engine.history import CallerHistory
from authz_server.engine.model import WorkloadModel
from authz_server.engine.numeric import NumericModel
from authz_server.engine.parameters import EndpointProfile
from authz_server.engine.record import CallRecord
from trainer.call_sample import CallSample
from trainer.eligible import caller_of, succeeded
from trainer.fit_edges import EdgeLearner
from trainer.fit_parameters import EndpointProfileLearner, SharedLearner
from trainer.fit_sequence import SequenceLearner
from trainer.kin import to_kin
from trainer.prior import Prior
from trainer.shape import Shape
from trainer.support import WINDOWS, Quorum
from trainer.survey import Survey

__all__ = ["NUMERIC", "ModelLearner", "Plan", "merged"]

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
        succeeding, self.rare_endpoints = survey.endpoints.finish(self.quorum)
        persistent, _ = survey.failing.finish(Quorum(self.quorum.heavy, _PERSISTENT))
        self.failing = frozenset(persistent)
        """Endpoints that clients call and are refused at all the time: what fails there is normal, and teaches too."""
        self.table = EndpointTable({*succeeding, *persistent})
        self.gap = survey.gaps.finish()


class ModelLearner:
    """Learns one workload's model from teaching calls; those at endpoints without quorum teach nothing."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._profiles: dict[str, EndpointProfileLearner] = {}
        self._shared = SharedLearner()
        self._sequence = SequenceLearner(plan.gap)
        self._edges = EdgeLearner()
        self._sample = CallSample(_MAX_SAMPLE if plan.numeric else 0)

    def update(
        self, record: CallRecord, call: Call, endpoint: str, history: CallerHistory | None, window: int, shape: Shape
    ) -> None:
        """Learn one teaching call of this shape; `history` is its caller's before it, None: the caller has no session."""
        caller = caller_of(record)
        if caller in self._plan.quorum.heavy:
            caller = ""  # a population: each of its calls counts as a caller of its own, and what it brings in bulk is no spray
        profile = self._profiles.get(endpoint)
        if profile is None:
            profile = self._profiles[endpoint] = EndpointProfileLearner(path_parameters(endpoint))
        profile.update(call, caller, window, succeeded=succeeded(record), shape=shape)
        self._shared.update(call, caller, window, shape)
        self._sample.update(record.id, call, endpoint, window)
        self._edges.update(endpoint, record.principal, window)
        if history is not None and record.session not in self._plan.quorum.heavy:
            self._sequence.update(endpoint, history, caller, window)

    def settle(self) -> None:
        """Put what was learned so far in its final, smaller form: no more calls are expected soon."""
        for profile in self._profiles.values():
            profile.settle()
        self._shared.settle()

    def merge(self, other: "ModelLearner") -> None:
        """Take over another's calls; the other stays as it is."""
        for endpoint, profile in other._profiles.items():
            mine = self._profiles.get(endpoint)
            if mine is None:
                mine = self._profiles[endpoint] = EndpointProfileLearner(path_parameters(endpoint))
            mine.merge(profile)
        self._shared.merge(other._shared)
        self._sequence.merge(other._sequence)
        self._sample.merge(other._sample)
        self._edges.merge(other._edges)

    def finish(self, workload: str, share: float = 1.0) -> WorkloadModel:
        """Make the model, not yet calibrated; `share` of the workload's calls were seen, in (0, 1]."""
        plan, prior = self._plan, Prior(share)
        profiles = {name: profile for name, profile in sorted(self._profiles.items()) if plan.quorum.has(profile.total)}
        for profile in profiles.values():
            profile.pool(prior, plan.quorum)
        self._shared.pool(prior, plan.quorum)
        self._edges.pool(prior, plan.quorum)
        learners = {(name, key): one for name, profile in profiles.items() for key, one in profile.learners.items()}
        kin = to_kin(learners, plan.quorum)
        n = self._shared.total.count
        endpoints = {
            name: profile.finish(prior, plan.quorum, {key: one for (endpoint, key), one in kin.items() if endpoint == name})
            for name, profile in profiles.items()
        }
        return WorkloadModel(
            workload,
            n,
            plan.survey.first_ts,
            plan.survey.last_ts,
            endpoints,
            self._shared.finish(prior, plan.quorum),
            msgspec.structs.replace(self._sequence.finish(plan.quorum, share), populations=plan.quorum.heavy),
            {},
            self._surprises(n, prior),
            self._edges.finish(prior, plan.quorum),
            self._numeric(endpoints),
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
            FindingCode.UNKNOWN_METHOD: self._plan.rare_endpoints,
        }
        for code, count in rare.items():
            prior.add(code, n, count)
        return {code: prior.surprise(code, n, count) for code, count in rare.items()}


def merged(plan: Plan, learners: Iterable[ModelLearner]) -> ModelLearner:
    """Merge learners into a new one."""
    together = ModelLearner(plan)
    for learner in learners:
        together.merge(learner)
    return together
