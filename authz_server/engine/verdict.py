"""Verdict: the one object from which response, log line, metrics and console page are derived.

It says allow or deny, under which mode and budget, with which Findings. `refused` alone says whether the call is stopped: in dry
run a deny is told and nothing is refused.
"""

from enum import StrEnum
from typing import Final

import msgspec

from authz_server.engine.call import Call
from authz_server.engine.decide import Judgement
from authz_server.engine.finding import Finding, FindingCode, Surprise
from authz_server.engine.pointer import to_pointer
from authz_server.engine.policy import Mode, Rule
from authz_server.engine.volume import PACE, retry_after

__all__ = ["Action", "Basis", "Verdict", "to_finding", "to_verdict"]

_MAX_FINDINGS = 8
_UNKNOWN = (FindingCode.UNKNOWN_PARAMETER, FindingCode.UNKNOWN_HEADER)


class Action(StrEnum):
    """What the models say."""

    ALLOW = "allow"
    DENY = "deny"


class Basis(StrEnum):
    """On what ground a Verdict stands; also a metric label."""

    JUDGED = "judged"
    OFF = "off"
    NO_MODEL = "no_model"
    """Nothing learned for this workload yet: allowed."""
    NOT_HTTP = "not_http"
    """No HTTP attributes to judge: answered by policy."""
    AFTERWARDS = "afterwards"
    """Told when the call was over: an alert, nothing to refuse any more."""
    QUARANTINE = "quarantine"
    """The caller is refused for a while for what it did before."""
    ERROR = "error"
    """Judging failed: answered by `failure_mode_allow`."""


# To ask an enumeration for a member costs ten times what a name costs.
_ALLOW: Final = Action.ALLOW
_DENY: Final = Action.DENY
_ENFORCE: Final = Mode.ENFORCE
_JUDGED: Final = Basis.JUDGED
_AFTERWARDS: Final = Basis.AFTERWARDS


class Verdict(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Allow or deny, and why. `p_value` is 1 where nothing was judged; `endpoint` is empty where no template matched.

    `reasons`: what is odd, the strongest first; those that the models gave are put into words only where somebody asks for
    `findings`, since nobody does for most calls and the words cost more than the rest of a Verdict.
    `method` and `path` are the call's as they may be shown; `caller` is its principal, `session` its session's digest.
    `retry_after`: seconds until its caller's pace is normal again, where that is the only reason for a refusal; else 0.
    """

    action: Action
    basis: Basis
    mode: Mode
    workload: str
    decision_id: str
    revision: str = ""
    endpoint: str = ""
    p_value: float = 1.0
    score: float = 0.0
    budget: float = 0.0
    reasons: tuple[Surprise | Finding, ...] = ()
    method: str = ""
    path: str = ""
    caller: str = ""
    session: str = ""
    request_id: str = ""
    ts: float = 0.0
    retry_after: int = 0

    @property
    def refused(self) -> bool:
        """Whether the call is stopped: a deny that is enforced."""
        return self.action is _DENY and self.mode is _ENFORCE and self.basis is not _AFTERWARDS

    @property
    def reason(self) -> str:
        """The first reason's code, or the basis where there is none: short, from a closed set, fit for a label."""
        return self.reasons[0].code if self.reasons else self.basis

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The reasons in words."""
        return tuple([to_finding(one, self.endpoint) if isinstance(one, Surprise) else one for one in self.reasons])


def to_verdict(judgement: Judgement, call: Call, rule: Rule, decision_id: str, revision: str) -> Verdict:
    """Hold a Judgement against the policy: deny at a p-value up to the budget.

    Where the caller's pace alone is the reason, it is told when to come back; a call that is odd by itself had better not.
    """
    denied = judgement.p_value <= rule.budget
    too_fast = judgement.excess if denied and judgement.call_p_value > rule.budget else None
    return Verdict(
        _DENY if denied else _ALLOW,
        _JUDGED,
        rule.mode,
        call.workload,
        decision_id,
        revision,
        judgement.endpoint,
        judgement.p_value,
        judgement.score,
        rule.budget,
        judgement.surprises[:_MAX_FINDINGS],
        call.method,
        call.path,
        call.caller.principal,
        call.caller.session,
        call.request_id,
        call.ts,
        retry_after(too_fast, rule.budget) if too_fast is not None and rule.mode is _ENFORCE else 0,
    )


def to_finding(surprise: Surprise, endpoint: str) -> Finding:
    """Put a Surprise into words: "`count` was -1; in 48,211 calls it was an integer from 1 to 12"."""
    location, _, name = surprise.key.partition(":")
    seen, usual = surprise.words
    if location == PACE:
        text = f"{seen}; in {surprise.evidence:,} windows of {name} it was {usual}"
        return Finding(surprise.code, text, seen, usual, surprise.evidence, 10**-surprise.amount)
    if location == "path":
        name = f"segment {int(name) + 1}"
    subject = f"{location} {name}" if location == "path" else f"`{name}`" if name else ""
    if subject:
        normal = "there" if surprise.code in _UNKNOWN else "it"
        text = f"{subject} was {seen}; in {surprise.evidence:,} calls {normal} was {usual}"
    else:
        text = f"{seen}; in {surprise.evidence:,} calls: {usual}"
    chance = 10**-surprise.amount
    pointer = to_pointer(endpoint, "" if surprise.code in _UNKNOWN else location, surprise.key.partition(":")[2])
    return Finding(surprise.code, text, seen, usual, surprise.evidence, chance, location, name, pointer)
