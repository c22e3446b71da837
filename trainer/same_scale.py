"""Put the published model's surprises on the scale of the models that calibrated it.

In: the model of all calls, and the models of four blocks of five whose scores on the fifth made the calibration. Out: the model,
no surprise of which is greater than it typically was in these. What is new comes more rarely the more was seen, faster than in
proportion, so that the model of all calls is surer than they were and the same oddity scores more with it than it did when they
were calibrated (`python -m bench promise` refuses too many calls of the shop workflow without this). Scores of different scales
can't be compared, and a p-value compares them. What the model of all calls knows beyond the others stays: it makes calls less
odd, never odder.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from statistics import median
from typing import TypeVar

import msgspec

from authz_server.engine.alphabet import Alphabet
from authz_server.engine.edges import EdgeModel
from authz_server.engine.model import WorkloadModel
from authz_server.engine.profile import EndpointProfile, ParameterProfile
from authz_server.engine.sequence import PrecedenceRule, SequenceModel, Transition

__all__ = ["to_same_scale"]

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")


def to_same_scale(model: WorkloadModel, others: Sequence[WorkloadModel]) -> WorkloadModel:
    """Cut each surprise of `model` to the median of what it is in `others`; one that none of them could have stays."""
    if not others:
        return model
    return msgspec.structs.replace(
        model,
        endpoints={
            name: _profile(profile, _found(name, (other.endpoints for other in others)))
            for name, profile in model.endpoints.items()
        },
        shared=_profile(model.shared, [other.shared for other in others]),
        surprises=_cut(model.surprises, [other.surprises for other in others]),
        edges=_edges(model.edges, [other.edges for other in others]),
        sequence=_sequence(model.sequence, [other.sequence for other in others]),
        written={
            name: _parameter(profile, _found(name, (other.written for other in others)))
            for name, profile in model.written.items()
        },
        segments=model.segments and _parameter(model.segments, [other.segments for other in others if other.segments]),
        alphabet=_alphabet(model.alphabet, [other.alphabet for other in others]),
        shared_alphabet=_alphabet(model.shared_alphabet, [other.shared_alphabet for other in others]),
    )


def _profile(profile: EndpointProfile, others: Sequence[EndpointProfile]) -> EndpointProfile:
    return msgspec.structs.replace(
        profile,
        parameters={
            key: _parameter(parameter, _found(key, (other.parameters for other in others)))
            for key, parameter in profile.parameters.items()
        },
        surprises=_cut(profile.surprises, [other.surprises for other in others]),
        required=_cut(profile.required, [other.required for other in others]),
    )


def _parameter(profile: ParameterProfile, others: Sequence[ParameterProfile]) -> ParameterProfile:
    return msgspec.structs.replace(profile, surprises=_cut(profile.surprises, [other.surprises for other in others]))


def _edges(edges: EdgeModel, others: Sequence[EdgeModel]) -> EdgeModel:
    endpoints = {}
    for name, one in edges.endpoints.items():
        amounts = [other.surprise for other in _found(name, (other.endpoints for other in others))]
        endpoints[name] = msgspec.structs.replace(one, surprise=_least(one.surprise, amounts))
    surprise = _least(edges.surprise, [other.surprise for other in others])
    return msgspec.structs.replace(edges, surprise=surprise, endpoints=endpoints)


def _sequence(sequence: SequenceModel, others: Sequence[SequenceModel]) -> SequenceModel:
    rules = {}
    for name, own in sequence.rules.items():
        theirs = [{_identity(rule): rule for rule in other.rules.get(name, ())} for other in others]
        rules[name] = tuple(
            msgspec.structs.replace(
                rule, surprise=_least(rule.surprise, [one.surprise for one in _found(_identity(rule), theirs)])
            )
            for rule in own
        )
    return msgspec.structs.replace(
        sequence,
        rules=rules,
        transitions=_transitions(sequence.transitions, [other.transitions for other in others]),
        contexts=_transitions(sequence.contexts, [other.contexts for other in others]),
    )


def _transitions(own: Mapping[str, Transition], others: Sequence[Mapping[str, Transition]]) -> dict[str, Transition]:
    return {
        name: msgspec.structs.replace(one, surprise=_least(one.surprise, [other.surprise for other in _found(name, others)]))
        for name, one in own.items()
    }


def _alphabet(alphabet: Alphabet, others: Sequence[Alphabet]) -> Alphabet:
    return msgspec.structs.replace(alphabet, new=_least(alphabet.new, [other.new for other in others]))


def _identity(rule: PrecedenceRule) -> tuple[str, str, int | None]:
    return rule.needs, rule.since, rule.surplus


def _cut(own: Mapping[Key, float], others: Sequence[Mapping[Key, float]]) -> dict[Key, float]:
    """Cut the surprises of one context; where another model makes a check not at all, its failure surprises it by 0."""
    cut = {key: _least(amount, [other.get(key, 0.0) for other in others]) for key, amount in own.items()}
    return {key: amount for key, amount in cut.items() if amount > 0}


def _least(amount: float, others: Sequence[float]) -> float:
    return min(amount, round(median(others), 4)) if others else amount


def _found(key: Key, others: Iterable[Mapping[Key, Item]]) -> list[Item]:
    return [other[key] for other in others if key in other]
