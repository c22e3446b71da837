"""The sequence model: what is odd about a Call given what its caller did before.

Two views of one order. Precedence rules mined from sessions say what must have come before: ever ("POST /pay needs POST /login"),
since a step ("POST /ship needs POST /pay since the last POST /cart", and "POST /coupon needs POST /cart since the last POST
/coupon": not again until), or once for each time ("POST /refund needs a POST /return each time"). Transitions say what usually
comes next: a variable-order Markov model (a prediction suffix tree, Ron, Singer & Tishby 1996) that backs off from the longest
known context to shorter ones until one knows the next step, each with the chance that something new comes there
(`evidence.py`). Each comes with the evidence behind it. An incomplete history breaks no rule that reaches back to its beginning.
What it adds to a decision: `python -m bench workflows`.
"""

from typing import NamedTuple

import msgspec

from authz_server.engine.finding import FindingCode, Surprise
from authz_server.engine.history import IDLE_SECONDS, MAX_RECENT, Past

__all__ = ["START", "PrecedenceRule", "ReadySequence", "SequenceModel", "Transition", "context_key"]

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


class SequenceModel(msgspec.Struct, frozen=True, gc=False):
    """The workflows of one workload: rules by the endpoint they guard, transitions by the endpoint before (START: none).

    `contexts`: transitions by two to `MAX_RECENT` endpoints before (`context_key`), where these say more than fewer do. `floor`:
    an unusual next endpoint of less surprise than that is nothing; normal steps hardly ever reach it. `gap`: seconds that callers
    are rarely silent for within a session. A history that began when we had watched for less may have begun before: it is
    incomplete. `populations`: sessions that are no person's but a service's or a gateway's, whose calls belong to many stories at
    once: their order says nothing.

    Written with all its defaults: which floats are left out as defaults is a matter of which object they are, so that a model
    that came from another process would be written differently.
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


class _Context(NamedTuple):
    """A context as a node of the tree: what comes after it (None: nothing known), and the contexts that are longer by one."""

    after: Transition | None
    longer: "dict[str, _Context]"


_Step = tuple[str, str, int | None, PrecedenceRule]
"""What a rule looks at, `since`, `needs` and `surplus`, and the rule."""


class ReadySequence:
    """A SequenceModel ready to score: each endpoint's rules, the strongest first, and the contexts as a tree.

    A context is found from its latest endpoint on, one look-up for each further one, and no name is put together for it.
    Immutable; shared by all threads.
    """

    __slots__ = ("_contexts", "_floor", "_gap", "_rules")

    def __init__(self, model: SequenceModel) -> None:
        self._gap = model.gap
        self._floor = model.floor
        self._rules = {endpoint: _steps(rules) for endpoint, rules in model.rules.items() if rules}
        self._contexts: dict[str, _Context] = {}
        if model.transitions:
            for endpoint, transition in model.transitions.items():
                _grow(self._contexts, (endpoint,), transition)
            for key, transition in model.contexts.items():
                _grow(self._contexts, tuple(key.split("\n")), transition)

    def score(self, endpoint: str, past: Past) -> Surprise | None:
        """Tell what is odd about calling `endpoint` now: the strongest broken rule, or an unusual next step.

        They are two views of one order, so they don't add up: the more surprising one counts, and a broken rule explains it.
        """
        complete = past.watched >= self._gap
        rules = self._rules.get(endpoint)
        broken = _strongest_broken(endpoint, rules, past, complete=complete) if rules is not None else None
        unusual = self._unusual(endpoint, past.recent, complete=complete) if self._contexts else None
        if broken is None:
            return unusual
        amount = max(broken.surprise, unusual.amount) if unusual is not None else broken.surprise
        return Surprise(FindingCode.PRECEDENCE, amount, "", (_broken_in_words, endpoint, broken), "", broken.n)

    def _unusual(self, endpoint: str, recent: tuple[str, ...], *, complete: bool) -> Surprise | None:
        """Of the contexts longer than the longest one that knows the endpoint, take the most surprised one.

        They are views of one order, so they don't add up. To multiply the chances, as PPM does (Cleary & Witten 1984), found less
        on the `dev` splits of `bench/workflows`.
        """
        context = (START, *recent) if complete and len(recent) < MAX_RECENT else recent
        told: Transition | None = None
        length = told_length = 0
        longer = self._contexts
        for name in reversed(context):
            found = longer.get(name)
            if found is None:
                break
            length += 1
            after, longer = found
            if after is None:
                continue
            if endpoint in after.known:
                told = None
            elif told is None or after.surprise >= told.surprise:
                told, told_length = after, length
        if told is None or told.surprise <= 0 or told.surprise < self._floor:
            return None
        words = (_unusual_in_words, endpoint, context[-told_length:], len(told.known))
        return Surprise(FindingCode.TRANSITION, told.surprise, "", words, "", told.n)


def _steps(rules: tuple[PrecedenceRule, ...]) -> tuple[_Step, ...]:
    strongest_first = sorted(rules, key=lambda rule: -rule.surprise)
    return tuple([(rule.since, rule.needs, rule.surplus, rule) for rule in strongest_first])


def _grow(contexts: dict[str, _Context], endpoints: tuple[str, ...], after: Transition) -> None:
    """Add a context to the tree."""
    for name in reversed(endpoints[1:]):
        contexts = contexts.setdefault(name, _Context(None, {})).longer
    longer = contexts[endpoints[0]].longer if endpoints[0] in contexts else {}
    contexts[endpoints[0]] = _Context(after, longer)


def _broken_in_words(endpoint: str, rule: PrecedenceRule) -> tuple[str, str]:
    """Tell what was seen where a rule was broken, and what is normal."""
    if rule.surplus is not None:
        more = f" and up to {rule.surplus} more" if rule.surplus else ""
        return f"{endpoint} more often than {rule.needs} before it", f"{rule.needs} came before it each time{more}"
    if rule.since == endpoint:
        return f"{endpoint} again without {rule.needs} in between", f"{rule.needs} came before it came again"
    since = f" since the last {rule.since}" if rule.since else ""
    return f"{endpoint} without {rule.needs} before it{since}", f"{rule.needs} came before it{since}"


def _unusual_in_words(endpoint: str, after: tuple[str, ...], known: int) -> tuple[str, str]:
    where = "after " + ", ".join([name for name in after if name]) if after[-1] else "at the start of a session"
    return f"{endpoint} {where}", f"one of {known} other endpoints {where}"


def _strongest_broken(endpoint: str, rules: tuple[_Step, ...], past: Past, *, complete: bool) -> PrecedenceRule | None:
    ever, counts = past.ever, past.counts
    for since, needs, surplus, rule in rules:
        if since:
            last = ever.get(since, -1)
            holds = last < 0 or ever.get(needs, -1) > last
        elif not complete or needs not in ever:
            holds = not complete
        else:
            holds = surplus is None or counts is None or counts.get(endpoint, 0) < counts.get(needs, 0) + surplus
        if not holds:
            return rule
    return None
