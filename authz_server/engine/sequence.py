"""The sequence model: what is odd about a Call given what its caller did before.

Two views of one order. Precedence rules mined from sessions say what must have come before: ever ("POST /pay needs POST /login"),
since a step ("POST /ship needs POST /pay since the last POST /cart", and "POST /coupon needs POST /cart since the last POST
/coupon": not again until), or once for each time ("POST /refund needs a POST /return each time"). Transitions say what usually
comes next: a variable-order Markov model (a prediction suffix tree, Ron, Singer & Tishby 1996) that backs off from the longest
known context to shorter ones until one knows the next step, each with the chance that something new comes there
(`evidence.py`). Each comes with the evidence behind it. An incomplete history breaks no rule that reaches back to its beginning.
What it adds to a decision: `python -m bench workflows`.
"""

import msgspec

from authz_server.engine.finding import FindingCode, Surprise
from authz_server.engine.history import IDLE_SECONDS, MAX_RECENT, Past

__all__ = ["START", "PrecedenceRule", "SequenceModel", "Transition", "context_key", "score_sequence"]

START = ""
"""The endpoint before the first one."""


class PrecedenceRule(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """`needs` must have come before, since the last `since` (empty: since the session began).

    `since` may be the guarded endpoint itself: it doesn't come again until `needs` came again. `surplus`: how many times more
    than `needs` the endpoint may come since the session began; None: that `needs` came once is enough. `n` steps obeyed the
    rule or broke it; `surprise` is -log10 of the chance that a normal step breaks it. `implied`: it follows from other rules, so
    people needn't be shown it; it is judged all the same, since the endpoints that the others guard may not be enforced yet.
    """

    needs: str
    surprise: float
    n: int
    since: str = ""
    surplus: int | None = None
    implied: bool = False


class Transition(msgspec.Struct, frozen=True, gc=False):
    """What comes after one context: how often each normal next endpoint came, in `n` observations.

    `surprise`: of anything else, -log10 of the chance that something new comes there.
    """

    n: int
    known: dict[str, int]
    surprise: float


class SequenceModel(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The workflows of one workload: rules by the endpoint they guard, transitions by the endpoint before (START: none).

    `contexts`: transitions by two to `MAX_RECENT` endpoints before (`context_key`), where these say more than fewer do. `floor`:
    an unusual next endpoint of less surprise than that is nothing; normal steps hardly ever reach it. `gap`: seconds that callers
    are rarely silent for within a session. A history that began when we had watched for less may have begun before: it is
    incomplete. `populations`: sessions that are no person's but a service's or a gateway's, whose calls belong to many stories at
    once: their order says nothing.
    """

    gap: float = IDLE_SECONDS
    rules: dict[str, tuple[PrecedenceRule, ...]] = {}
    transitions: dict[str, Transition] = {}
    contexts: dict[str, Transition] = {}
    floor: float = 0.0
    populations: frozenset[str] = frozenset()


def context_key(endpoints: tuple[str, ...]) -> str:
    """Name a context of several endpoints, the latest last; START may be the first of them."""
    return "\n".join(endpoints)


def score_sequence(endpoint: str, past: Past, model: SequenceModel) -> Surprise | None:
    """Tell what is odd about calling `endpoint` now: the strongest broken rule, or an unusual next step.

    They are two views of one order, so they don't add up: the more surprising one counts, and a broken rule explains it.
    """
    complete = past.watched >= model.gap
    rules = model.rules.get(endpoint)
    broken = _strongest_broken(endpoint, rules, past, complete=complete) if rules else None
    unusual = _unusual(endpoint, past.recent, model, complete=complete) if model.transitions else None
    if broken is not None:
        seen, normal = _in_words(endpoint, broken)
        amount = max(broken.surprise, unusual.amount) if unusual is not None else broken.surprise
        return Surprise(FindingCode.PRECEDENCE, amount, "", seen, normal, broken.n)
    return unusual


def _in_words(endpoint: str, rule: PrecedenceRule) -> tuple[str, str]:
    """Tell what was seen where a rule was broken, and what is normal."""
    if rule.surplus is not None:
        more = f" and up to {rule.surplus} more" if rule.surplus else ""
        return f"{endpoint} more often than {rule.needs} before it", f"{rule.needs} came before it each time{more}"
    if rule.since == endpoint:
        return f"{endpoint} again without {rule.needs} in between", f"{rule.needs} came before it came again"
    since = f" since the last {rule.since}" if rule.since else ""
    return f"{endpoint} without {rule.needs} before it{since}", f"{rule.needs} came before it{since}"


def _strongest_broken(endpoint: str, rules: tuple[PrecedenceRule, ...], past: Past, *, complete: bool) -> PrecedenceRule | None:
    broken: PrecedenceRule | None = None
    ever, counts = past.ever, past.counts
    for rule in rules:
        if rule.since:
            since = ever.get(rule.since, -1)
            holds = since < 0 or ever.get(rule.needs, -1) > since
        elif not complete or rule.needs not in ever:
            holds = not complete
        else:
            surplus = rule.surplus
            holds = surplus is None or counts is None or counts.get(endpoint, 0) < counts.get(rule.needs, 0) + surplus
        if not holds and (broken is None or rule.surprise > broken.surprise):
            broken = rule
    return broken


def _unusual(endpoint: str, recent: tuple[str, ...], model: SequenceModel, *, complete: bool) -> Surprise | None:
    """Follow the contexts from the longest to the shortest until one knows the endpoint.

    Those that don't are views of one order, so they don't add up: the most surprised one counts. To multiply the chances, as PPM
    does (Cleary & Witten 1984), found less on the `dev` splits of `bench/workflows`.
    """
    context = (START, *recent) if complete and len(recent) < MAX_RECENT else recent
    told: Transition | None = None
    after: tuple[str, ...] = ()
    for first in range(len(context)):
        last = first == len(context) - 1
        found = model.transitions.get(context[first]) if last else model.contexts.get(context_key(context[first:]))
        if found is None:
            continue
        if endpoint in found.known:
            break
        if told is None or found.surprise > told.surprise:
            told, after = found, context[first:]
    if told is None or told.surprise <= 0 or told.surprise < model.floor:
        return None
    where = "after " + ", ".join([name for name in after if name]) if after[-1] else "at the start of a session"
    normal = f"one of {len(told.known)} other endpoints {where}"
    return Surprise(FindingCode.TRANSITION, told.surprise, "", f"{endpoint} {where}", normal, told.n)
