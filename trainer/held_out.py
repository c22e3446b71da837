"""Held-out odd calls, and what they tell of each kind of surprise: one that comes far more often than it claims is cut.

In: the surprises of held-out calls, each by the model of the other blocks. Out: caps of surprises, the published model under
these, and the calibration of the scores that calls have under them.

A surprise claims a chance that was learned from calls that teach. Calls that the service refuses don't, and yet are normal: what
is odd about all of them may come in one of 500 calls and claim one of 80,000. As scores are compared with each other, such calls
stand above every weaker finding, and where they are more than the budget's share of a workload's calls, none of these could be
refused. So what is claimed is held against what came, as the reliability of a forecast is (Murphy 1973), before it is added up.

An attacker can't cut away what betrays him: what counts must have come from a quorum of callers, in half of the windows of the
traffic, the calls of each caller a few times. Nor does this let anything pass that was refused before by itself: what is cut came
as often among the calls that calibrate.
"""

import math
from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Final, NamedTuple

import msgspec

from authz_server.engine.decide import to_score
from authz_server.engine.edges import EdgeModel
from authz_server.engine.finding import FindingCode, Surprise
from authz_server.engine.model import WorkloadModel
from authz_server.engine.profile import EndpointProfile, ParameterProfile
from trainer.calibrate import PARTS, CalibrationLearner
from trainer.support import WINDOWS, Quorum, Support, add_support, to_support

__all__ = ["Caps", "Claim", "HeldOut", "OddCall", "capped", "to_odd_call"]

_PERSISTENT: Final = WINDOWS // 2
"""Windows of the traffic in which it must have come: a scan or a release comes and goes."""
_REPEATS: Final = 8
"""Times that the same of one caller counts."""
_LEAST: Final = 1.0
"""What a claim must be wrong by, in decades: a chance is an estimate from few other calls, and a factor of a few is no fault."""
_MAX_SURPRISES: Final = 32
"""Surprises of a call that are kept, the strongest: whoever calls chooses how many there are."""
_MAX_KEPT: Final = 500_000
"""Surprises of a workload that are kept; of the calls after that their scores alone, which no cap lowers then."""

Claim = tuple[str, FindingCode, str]
"""What a surprise is of: an endpoint (empty: the whole workload), which check, of which parameter (empty: of none or of any)."""
Caps = Mapping[Claim, float]
"""The most that a surprise, of what lies just outside of what is normal, amounts to."""
_Kept = tuple[FindingCode, str, float]

_EVERYWHERE: Final = frozenset(
    {FindingCode.UNKNOWN_ENDPOINT, FindingCode.UNKNOWN_METHOD, FindingCode.UNKNOWN_HEADER, FindingCode.UNKNOWN_PRINCIPAL}
)
_OF_ANY: Final = frozenset({FindingCode.UNKNOWN_PARAMETER, FindingCode.UNKNOWN_HEADER})
_CONTENT_TYPE: Final = "header:content-type"
"""Is an endpoint's own, not shared by all."""


class OddCall(NamedTuple):
    """One held-out call: by the model of all blocks but which it was scored, in which of `PARTS` of the traffic it came.

    `who`: as `CalibrationLearner.update` has it. `surprises`: the strongest ones' code, key and amount; `score` is that of all.
    """

    endpoint: str
    block: int
    part: int
    caller: str
    who: str
    score: float
    surprises: tuple[_Kept, ...]


def to_odd_call(endpoint: str, block: int, part: int, caller: str, who: str, found: Sequence[Surprise]) -> OddCall:
    """Keep of a call what is needed of it."""
    kept = found if len(found) <= _MAX_SURPRISES else sorted(found, key=lambda one: -one.amount)[:_MAX_SURPRISES]
    surprises = tuple([(one.code, one.key, one.amount) for one in kept])
    return OddCall(endpoint, block, part, caller, who, to_score(list(found)), surprises)


class HeldOut:
    """The held-out calls of one workload: those with nothing odd counted, the others kept."""

    def __init__(self) -> None:
        self._quiet: dict[str, int] = defaultdict(int)
        self._odd: list[OddCall] = []
        self._room = _MAX_KEPT

    def count(self, endpoint: str, calls: int) -> None:
        """Count held-out calls that nothing is odd about."""
        self._quiet[endpoint] += calls

    def update(self, call: OddCall) -> None:
        """Take one that something is odd about."""
        self._room -= len(call.surprises)
        self._odd.append(call if self._room >= 0 else call._replace(surprises=()))

    def caps(self, others: Sequence[WorkloadModel], quorum: Quorum) -> dict[Claim, float]:
        """Find what came far more often than `others`, which scored the calls, claim.

        What came together is checked together too, since it is added up: a call without its body lacks all that is in one.
        """
        supports = self._supports(quorum)
        odd = Tally(call.endpoint for call in self._odd)
        calls = sum(self._quiet.values()) + len(self._odd)
        persistent = Quorum(quorum.heavy, _PERSISTENT)
        found: dict[Claim, float] = {}
        for claims in sorted(supports, key=lambda one: (len(one), one)):
            support = supports[claims]
            if not persistent.has(support):
                continue
            endpoint = max(claim[0] for claim in claims)
            came = _rarity(support.count, self._quiet[endpoint] + odd[endpoint] if endpoint else calls)
            typical = {claim: _typical(others, claim) for claim in claims}
            amounts = {claim: min(amount, found.get(claim, amount)) for claim, amount in typical.items() if amount > 0}
            claimed = to_score([Surprise(code, amount, key, "", "", 0) for (_, code, key), amount in amounts.items()])
            if claimed >= came + _LEAST:
                found |= {claim: round(amount * came / claimed, 4) for claim, amount in amounts.items()}
        return found

    def _supports(self, quorum: Quorum) -> dict[tuple[Claim, ...], Support]:
        """Tell who stands behind each claim, and behind all those of a call."""
        supports: dict[tuple[Claim, ...], Support] = {}
        repeats: dict[tuple[tuple[Claim, ...], str], int] = defaultdict(int)
        for call in self._odd:
            claims = tuple(sorted({_to_claim(call.endpoint, code, key) for code, key, _ in call.surprises}))
            caller = "" if call.caller in quorum.heavy else call.caller
            for one in {claims, *[(claim,) for claim in claims]} - {()}:
                if caller:
                    repeats[one, caller] += 1
                if not caller or repeats[one, caller] <= _REPEATS:
                    add_support(supports, one, to_support(caller, call.part * WINDOWS // PARTS))
        return supports

    def calibrate(self, others: Sequence[WorkloadModel], caps: Caps) -> CalibrationLearner:
        """Collect the scores that the calls have under the caps."""
        learner = CalibrationLearner()
        for endpoint, calls in self._quiet.items():
            learner.count(endpoint, calls)
        for call in self._odd:
            learner.update(call.endpoint, _rescored(call, others[call.block], caps) if caps else call.score, call.part, call.who)
        return learner


def _rarity(count: int, calls: int) -> float:
    """Give -log10 of the share that so many of the calls are at most, by one standard error (Gehrels 1986, eq. 7)."""
    return -math.log10(min(1.0, (count + 1 + math.sqrt(count + 0.75)) / calls))


def _to_claim(endpoint: str, code: FindingCode, key: str) -> Claim:
    everywhere = code in _EVERYWHERE or (key.startswith(("header:", "cookie:")) and key != _CONTENT_TYPE)
    return "" if everywhere else endpoint, code, "" if code in _OF_ANY else key


def _typical(models: Sequence[WorkloadModel], claim: Claim) -> float:
    """Tell what a claim typically amounts to; 0 where most models make no such check."""
    return median([_amount(model, claim) for model in models])


def _rescored(call: OddCall, model: WorkloadModel, caps: Caps) -> float:
    """Take off a call's score what the caps take off; how far something is from normal stays added to the least amount."""
    before, after = [], []
    for code, key, amount in call.surprises:
        claim = _to_claim(call.endpoint, code, key)
        least = min(amount, _amount(model, claim))
        before.append(Surprise(code, amount, key, "", "", 0))
        after.append(Surprise(code, amount - max(0.0, least - caps.get(claim, least)), key, "", "", 0))
    return round(call.score - to_score(before) + to_score(after), 3)


def _amount(model: WorkloadModel, claim: Claim) -> float:
    """Find what a model's surprise amounts to at least; 0: it makes no such check, or it isn't a profile's."""
    endpoint, code, key = claim
    if code is FindingCode.UNKNOWN_ENDPOINT or code is FindingCode.UNKNOWN_METHOD:
        return model.surprises.get(code, 0.0)
    if code is FindingCode.UNKNOWN_PRINCIPAL:
        return model.edges.surprise
    if code is FindingCode.UNKNOWN_EDGE:
        edges = model.edges.endpoints.get(endpoint)
        return edges.surprise if edges is not None else 0.0
    profile = model.endpoints.get(endpoint) if endpoint else model.shared
    if profile is None:
        return 0.0
    if code is FindingCode.MISSING_PARAMETER:
        return profile.required.get(key, 0.0)
    if not key:
        return profile.surprises.get(code, 0.0)
    parameter = profile.parameters.get(key)
    return parameter.surprises.get(code, 0.0) if parameter is not None else 0.0


def capped(model: WorkloadModel, caps: Caps) -> WorkloadModel:
    """Cut the surprises of a model to the caps; each check stays, since it also tells that a call is explained by it."""
    if not caps:
        return model
    return msgspec.structs.replace(
        model,
        endpoints={name: _profile(profile, name, caps) for name, profile in model.endpoints.items()},
        shared=_profile(model.shared, "", caps),
        surprises={code: _cut(amount, ("", code, ""), caps) for code, amount in model.surprises.items()},
        edges=_edges(model.edges, caps),
    )


def _profile(profile: EndpointProfile, endpoint: str, caps: Caps) -> EndpointProfile:
    missing = FindingCode.MISSING_PARAMETER
    return msgspec.structs.replace(
        profile,
        parameters={key: _parameter(parameter, endpoint, key, caps) for key, parameter in profile.parameters.items()},
        surprises={code: _cut(amount, (endpoint, code, ""), caps) for code, amount in profile.surprises.items()},
        required={key: _cut(amount, (endpoint, missing, key), caps) for key, amount in profile.required.items()},
    )


def _parameter(profile: ParameterProfile, endpoint: str, key: str, caps: Caps) -> ParameterProfile:
    surprises = {code: _cut(amount, (endpoint, code, key), caps) for code, amount in profile.surprises.items()}
    return msgspec.structs.replace(profile, surprises=surprises)


def _edges(edges: EdgeModel, caps: Caps) -> EdgeModel:
    endpoints = {
        name: msgspec.structs.replace(one, surprise=_cut(one.surprise, (name, FindingCode.UNKNOWN_EDGE, ""), caps))
        for name, one in edges.endpoints.items()
    }
    surprise = _cut(edges.surprise, ("", FindingCode.UNKNOWN_PRINCIPAL, ""), caps)
    return msgspec.structs.replace(edges, surprise=surprise, endpoints=endpoints)


def _cut(amount: float, claim: Claim, caps: Caps) -> float:
    return min(amount, caps.get(claim, amount))
