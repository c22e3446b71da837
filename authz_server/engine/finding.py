"""Finding: one reason why a call is abnormal, as data and in words; Surprise: the same before anybody asked for words.

A Surprise is what the models make on the request path, cheap; a Finding is derived from it for calls that are told about.
"""

from enum import StrEnum

import msgspec

__all__ = ["Finding", "FindingCode", "Surprise"]


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

    `seen` and `normal` are words; `evidence` counts the observations behind `normal`.
    """

    code: FindingCode
    amount: float
    key: str
    seen: str
    normal: str
    evidence: int


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
