"""The sequence model: what is odd about a Call given what its caller did before.

Precedence rules mined from sessions ("POST /ship needs POST /pay since the last POST /cart") and first-order transitions
("after A comes B"), each with the evidence behind it. An incomplete history breaks no rule that reaches back to its beginning.
Costs a few microseconds a call, nothing for callers without a session.
"""

import msgspec

from authz_server.engine.finding import FindingCode, Surprise
from authz_server.engine.history import IDLE_SECONDS, Past

__all__ = ["START", "PrecedenceRule", "SequenceModel", "Transition", "score_sequence"]

START = ""
"""The endpoint before the first one."""


class PrecedenceRule(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """`needs` must have come before, since the last `since` (empty: since the session began).

    `n` sessions' steps obeyed it; `surprise` is -log10 of the chance that a normal step doesn't.
    """

    needs: str
    surprise: float
    n: int
    since: str = ""


class Transition(msgspec.Struct, frozen=True, gc=False):
    """What comes after one endpoint: the known next ones, and the surprise of any other, from `n` observations."""

    n: int
    known: frozenset[str]
    surprise: float


class SequenceModel(msgspec.Struct, frozen=True, gc=False):
    """The workflows of one workload: rules by the endpoint they guard, transitions by the endpoint before.

    `gap`: seconds that callers are rarely silent for within a session. A history that began when we had watched for less may have
    begun before: it is incomplete.
    """

    gap: float = IDLE_SECONDS
    rules: dict[str, tuple[PrecedenceRule, ...]] = {}
    transitions: dict[str, Transition] = {}


def score_sequence(endpoint: str, past: Past, model: SequenceModel) -> Surprise | None:
    """Tell what is odd about calling `endpoint` now: the strongest broken rule, or an unknown transition.

    They are two views of one order, so they don't add up: the more surprising one counts, and a broken rule explains it.
    """
    complete = past.watched >= model.gap
    previous = past.recent[-1] if past.recent else START
    rules = model.rules.get(endpoint)
    broken = _strongest_broken(rules, past, complete=complete) if rules else None
    unknown = _unknown_transition(endpoint, previous, model, complete=complete)
    if broken is not None:
        since = f" since the last {broken.since}" if broken.since else ""
        seen = f"{endpoint} without {broken.needs} before it{since}"
        normal = f"{broken.needs} came before it{since}"
        amount = max(broken.surprise, unknown.surprise) if unknown is not None else broken.surprise
        return Surprise(FindingCode.PRECEDENCE, amount, "", seen, normal, broken.n)
    if unknown is not None:
        after = f"after {previous}" if previous else "at the start of a session"
        normal = f"one of {len(unknown.known)} other endpoints {after}"
        return Surprise(FindingCode.TRANSITION, unknown.surprise, "", f"{endpoint} {after}", normal, unknown.n)
    return None


def _unknown_transition(endpoint: str, previous: str, model: SequenceModel, *, complete: bool) -> Transition | None:
    if not previous and not complete:
        return None
    transition = model.transitions.get(previous)
    if transition is None or transition.surprise <= 0 or endpoint in transition.known:
        return None
    return transition


def _strongest_broken(rules: tuple[PrecedenceRule, ...], past: Past, *, complete: bool) -> PrecedenceRule | None:
    broken: PrecedenceRule | None = None
    ever = past.ever
    for rule in rules:
        needed = ever.get(rule.needs, -1)
        if rule.since:
            since = ever.get(rule.since, -1)
            holds = since < 0 or needed > since
        else:
            holds = needed >= 0 or not complete
        if not holds and (broken is None or rule.surprise > broken.surprise):
            broken = rule
    return broken
