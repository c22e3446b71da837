"""The enforcement policy as data: which mode, budget and session sources hold for a workload and an endpoint.

Reading `enforcement.yaml` and watching it is the shell's (`authz_server/enforcement.py`); looking a call up is here.
"""

from enum import StrEnum
from typing import Final

import msgspec

__all__ = ["DEFAULT_SESSION", "EndpointPolicy", "Enforcement", "Mode", "Rule", "SessionSource", "WorkloadPolicy"]


class Mode(StrEnum):
    """What a deny does: nothing is judged (`off`), it is only told (`dry_run`), it is carried out (`enforce`)."""

    OFF = "off"
    DRY_RUN = "dry_run"
    ENFORCE = "enforce"


class SessionSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One place a session may be read from: a cookie's name, a header's name, the peer's principal, or its address.

    `claim`: of the JWT that Envoy verified (`jwt_authn` metadata); with `unverified` else of the bearer token itself.
    """

    cookie: str = ""
    header: str = ""
    claim: str = ""
    unverified: bool = False
    principal: bool = False
    address: bool = False


DEFAULT_SESSION: Final = (SessionSource(principal=True), SessionSource(address=True))


class EndpointPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is set for one endpoint; None: as its workload says."""

    mode: Mode | None = None
    budget: float | None = None


class WorkloadPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is set for one workload (or as default); None: as the defaults say. `endpoints` is keyed `METHOD /template`."""

    mode: Mode | None = None
    budget: float | None = None
    failure_mode_allow: bool | None = None
    non_http_allow: bool | None = None
    session: tuple[SessionSource, ...] | None = None
    quarantine: float | None = None
    endpoints: dict[str, EndpointPolicy] = {}


class Rule(msgspec.Struct, frozen=True):
    """What holds for a call, nothing left open: the answer of `Enforcement`.

    `budget` is the accepted share of normal calls refused, in (0, 1). `failure_mode_allow`: the answer when judging fails.
    `non_http_allow`: the answer to a connection without HTTP attributes. `quarantine_seconds`: how long a caller is refused after
    an alert that could only be raised afterwards; 0: not at all.
    """

    mode: Mode = Mode.DRY_RUN
    budget: float = 1e-3
    failure_mode_allow: bool = True
    non_http_allow: bool = True
    session: tuple[SessionSource, ...] = DEFAULT_SESSION
    quarantine_seconds: float = 0.0


class Enforcement:
    """The policy, resolved: one Rule a workload and, where set, an endpoint. Replaced as a whole when the file changes."""

    def __init__(self, defaults: Rule, workloads: dict[str, WorkloadPolicy]) -> None:
        self.defaults = defaults
        self.workloads = workloads
        self._rules = {name: _over(defaults, policy) for name, policy in workloads.items()}
        self._endpoint_rules = {
            (name, endpoint): _endpoint_over(self._rules[name], rule)
            for name, policy in workloads.items()
            for endpoint, rule in policy.endpoints.items()
        }

    def workload(self, name: str) -> Rule:
        """Look up what holds for a workload as a whole."""
        return self._rules.get(name, self.defaults)

    def endpoint(self, workload: str, endpoint: str) -> Rule:
        """Look up what holds for an endpoint; the empty endpoint is one that no template matched."""
        return self._endpoint_rules.get((workload, endpoint)) or self._rules.get(workload, self.defaults)


def _over(base: Rule, policy: WorkloadPolicy) -> Rule:
    return Rule(
        policy.mode if policy.mode is not None else base.mode,
        policy.budget if policy.budget is not None else base.budget,
        policy.failure_mode_allow if policy.failure_mode_allow is not None else base.failure_mode_allow,
        policy.non_http_allow if policy.non_http_allow is not None else base.non_http_allow,
        policy.session if policy.session is not None else base.session,
        policy.quarantine if policy.quarantine is not None else base.quarantine_seconds,
    )


def _endpoint_over(base: Rule, policy: EndpointPolicy) -> Rule:
    return _over(base, WorkloadPolicy(mode=policy.mode, budget=policy.budget))
