"""What is normal for parameters and endpoints: what `parameters.py` holds calls against, as it lies in a bundle."""

import msgspec

from authz_server.engine.call import BodyKind, Flag, Kind
from authz_server.engine.finding import FindingCode

__all__ = ["EndpointProfile", "Interval", "ParameterProfile"]


class Interval(msgspec.Struct, frozen=True, gc=False):
    """The normal interval of a number or length, both ends normal."""

    low: float
    high: float


class ParameterProfile(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What is normal for one parameter, learned from `n` observations.

    `kinds`, `structures`, `values` (digests): the normal ones; None where too many to be one. `complete`: no other value came
    than those in `values`. `surprises` holds -log10 of the chance that the next normal observation fails a check; a check without
    entry isn't made.
    """

    n: int
    kinds: frozenset[Kind]
    classes: int
    lengths: Interval
    surprises: dict[FindingCode, float]
    numbers: Interval | None = None
    structures: frozenset[str] | None = None
    symbols: frozenset[str] | None = None
    values: frozenset[str] | None = None
    complete: bool = False


class EndpointProfile(msgspec.Struct, frozen=True, gc=False):
    """What is normal for one endpoint (or, for headers and cookies, one workload), learned from `n` calls.

    `required`: parameters that are (nearly) always there, with the surprise of their absence. `combinations`: the normal
    combinations of query and body parameter names, None where too many. `surprises`: as in ParameterProfile.
    """

    n: int
    parameters: dict[str, ParameterProfile]
    surprises: dict[FindingCode, float]
    required: dict[str, float] = {}
    combinations: frozenset[str] | None = None
    bodies: frozenset[BodyKind] = frozenset()
    flags: frozenset[Flag] = frozenset()
