"""What was learned of who does what after what, as one graph a workload; and the journeys in it.

In: a workload's model. Out: steps from endpoint to endpoint with counts, the mined rules in words, who calls which endpoint, and
what follows inside the mesh. A journey is what can be reached from one beginning by usual steps. Deterministic.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from authz_server.engine.edges import EdgeModel
from authz_server.engine.follow import Follows, told
from authz_server.engine.model import WorkloadModel
from authz_server.engine.sequence import START, PrecedenceRule, SequenceModel

__all__ = ["Call", "Graph", "Journey", "Rule", "Sequel", "Step", "to_graph", "to_journeys"]

_USUAL: Final = 0.02
"""Share of what comes after an endpoint from which on a step belongs to a journey."""
_BEGINS: Final = 0.02
"""Share of the sessions from which on an endpoint is a beginning."""


class Step(msgspec.Struct, frozen=True, order=True):
    """`calls` times `after` came next after `before` (empty: the session began), a `share` of all that came after it."""

    before: str
    after: str
    calls: int
    share: float


class Rule(msgspec.Struct, frozen=True, order=True):
    """A rule in words, and how many steps obeyed or broke it; `chance` that a normal step breaks it."""

    endpoint: str
    text: str
    steps: int
    chance: float


class Call(msgspec.Struct, frozen=True, order=True):
    """A principal (empty: none) called an endpoint so many times."""

    principal: str
    endpoint: str
    calls: int


class Sequel(msgspec.Struct, frozen=True, order=True):
    """After an endpoint ended so (`2xx`; empty: nobody told how), this call inside the mesh follows; `calls` were such.

    `given`: only where the call also caused these, as `endpoint at workload`; empty: always.
    """

    endpoint: str
    outcome: str
    workload: str
    follows: str
    given: str
    calls: int


class Graph(msgspec.Struct, frozen=True):
    """One workload."""

    workload: str
    steps: tuple[Step, ...]
    rules: tuple[Rule, ...]
    callers: tuple[Call, ...]
    sequels: tuple[Sequel, ...]


class Journey(msgspec.Struct, frozen=True):
    """What usually comes after `begins`: `sessions` began so, and the steps from there on."""

    begins: str
    sessions: int
    steps: tuple[Step, ...]


def to_graph(model: WorkloadModel) -> Graph:
    """Make a workload's graph."""
    return Graph(
        model.workload,
        _steps(model.sequence),
        tuple(
            sorted(
                _rule(endpoint, rule) for endpoint, rules in model.sequence.rules.items() for rule in rules if not rule.implied
            )
        ),
        _callers(model.edges),
        _sequels(model.follows),
    )


def to_journeys(graph: Graph) -> tuple[Journey, ...]:
    """List the journeys, those of most sessions first."""
    after: dict[str, list[Step]] = {}
    for step in graph.steps:
        after.setdefault(step.before, []).append(step)
    begins = [step for step in after.get(START, []) if step.share >= _BEGINS]
    journeys = [Journey(step.after, step.calls, _reached(step.after, after)) for step in begins]
    return tuple(sorted(journeys, key=lambda journey: (-journey.sessions, journey.begins)))


def _reached(begins: str, after: Mapping[str, list[Step]]) -> tuple[Step, ...]:
    found: list[Step] = []
    seen, waiting = {begins}, [begins]
    while waiting:
        for step in after.get(waiting.pop(0), []):
            if step.share >= _USUAL:
                found.append(step)
                if step.after not in seen:
                    seen.add(step.after)
                    waiting.append(step.after)
    return tuple(sorted(found))


def _steps(sequence: SequenceModel) -> tuple[Step, ...]:
    return tuple(
        sorted(
            Step(before, after, calls, round(calls / max(1, transition.n), 4))
            for before, transition in sequence.transitions.items()
            for after, calls in transition.known.items()
        )
    )


def _rule(endpoint: str, rule: PrecedenceRule) -> Rule:
    """Put a rule into words.

    >>> _rule("POST /ship", PrecedenceRule("POST /pay", 3.0, 412, "POST /cart")).text
    'POST /ship needs POST /pay since the last POST /cart'
    """
    if rule.surplus is not None:
        more = f", and may come {rule.surplus} times more" if rule.surplus else ""
        text = f"{endpoint} needs a {rule.needs} each time{more}"
    elif rule.since == endpoint:
        text = f"{endpoint} doesn't come again until {rule.needs} came again"
    elif rule.since:
        text = f"{endpoint} needs {rule.needs} since the last {rule.since}"
    else:
        text = f"{endpoint} needs {rule.needs} before it"
    return Rule(endpoint, text, rule.n, float(f"{10**-rule.surprise:.2g}"))


def _callers(edges: EdgeModel) -> tuple[Call, ...]:
    found = [Call(who, endpoint, calls) for endpoint, known in edges.endpoints.items() for who, calls in known.principals.items()]
    return tuple(sorted(found))


def _sequels(follows: Follows) -> tuple[Sequel, ...]:
    return tuple(
        sorted(
            Sequel(endpoint, outcome, one.workload, one.endpoint, told(one.given), one.n)
            for endpoint, outcomes in follows.items()
            for outcome, ones in outcomes.items()
            for one in ones
        )
    )
