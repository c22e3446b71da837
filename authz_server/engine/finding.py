"""Finding: one reason why a call is abnormal, as data and in words; Surprise: the same before anybody asked for words.

A Surprise is what the models make on the request path, cheap; a Finding is derived from it for calls that are told about.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Any

import msgspec

__all__ = ["Finding", "FindingCode", "Surprise", "Telling"]

Telling = tuple[Callable[..., tuple[str, str]], *tuple[Any, ...]]
"""A function that says what was seen and what is normal, and what to call it with."""


class FindingCode(StrEnum):
    """What is odd; also a metric label, so the set is closed."""

    UNKNOWN_ENDPOINT = "unknown_endpoint"
    UNKNOWN_METHOD = "unknown_method"
    UNKNOWN_PARAMETER = "unknown_parameter"
    UNKNOWN_HEADER = "unknown_header"
    MISSING_PARAMETER = "missing_parameter"
    UNKNOWN_COMBINATION = "unknown_combination"
    TYPE = "type"
    VALUE = "value"
    RANGE = "range"
    LENGTH = "length"
    CHARACTERS = "characters"
    STRUCTURE = "structure"
    SYMBOLS = "symbols"
    REQUEST_FORM = "request_form"
    BODY_KIND = "body_kind"
    UNKNOWN_PRINCIPAL = "unknown_principal"
    UNKNOWN_EDGE = "unknown_edge"
    """A known principal at an endpoint that it never calls: lateral movement, or a new deployment."""
    MISSING_CALL = "missing_call"
    """A call inside the mesh that always follows didn't: known only afterwards."""
    UNEXPECTED_SUCCESS = "unexpected_success"
    """A combination of parameters succeeded that never did: known only afterwards."""
    QUARANTINE = "quarantine"
    PRECEDENCE = "precedence"
    TRANSITION = "transition"
    NUMERIC_FOREST = "numeric_forest"
    NUMERIC_CLUSTER = "numeric_cluster"
    PACE_CALLS = "pace_calls"
    """How fast a caller goes: its calls, what they cost, their errors, distinct endpoints, distinct values in paths."""
    PACE_COST = "pace_cost"
    PACE_ERRORS = "pace_errors"
    PACE_ENDPOINTS = "pace_endpoints"
    PACE_VALUES = "pace_values"
    PACE_FLOOD = "pace_flood"
    """The whole workload is called too fast, and this caller is new or over its usual."""


class Surprise(msgspec.Struct, frozen=True, gc=False):
    """One odd thing: `amount` is -log10 of its chance.

    `told` and `usual` are what was seen and what is normal, in words; or `told` is how to say both, since nobody asks for most of
    them and to find the words costs more than to judge. `evidence` counts the observations behind what is normal.
    """

    code: FindingCode
    amount: float
    key: str
    told: str | Telling
    usual: str
    evidence: int

    def __hash__(self) -> int:
        """Hash what tells one from the next: `told` may hold what a model learned, and that has no hash."""
        return hash((self.code, self.amount, self.key))

    @property
    def words(self) -> tuple[str, str]:
        """What was seen, and what is normal."""
        told = self.told
        return (told, self.usual) if isinstance(told, str) else told[0](*told[1:])

    @property
    def seen(self) -> str:
        """What was seen, in words."""
        return self.words[0]

    @property
    def normal(self) -> str:
        """What is normal, in words."""
        return self.words[1]


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """One reason, for a person: what was seen, what is normal and on how much evidence, where.

    `chance` is the model's estimate for this one thing among normal calls, before calibration; the Verdict's p-value judges the
    whole call. `pointer` is a JSON pointer into the workload's learned OpenAPI document, empty where the finding isn't in it.
    """

    code: FindingCode
    text: str
    seen: str
    normal: str
    evidence: int
    chance: float
    location: str = ""
    name: str = ""
    pointer: str = ""
