"""What can be told of a call only when it is over: that something should have followed it, or that it should have failed.

In: every matched call, every access log entry, and a clock. Out: alerts, as Verdicts that refuse nothing, and which callers are
in quarantine. What followed is known from Checks, which Envoy makes before it lets a call through, and from access log entries; a
call's own entry starts the wait, so an entry that is lost is a call that isn't looked at, never an alert.

The second kind is a combination of parameters that never succeeded, as a login without its password: such a call may be let
through, since failing so is usual, and when it succeeds after all that is an alert.

Silence must not be taken for absence either: a Check may reach another replica, or none while we are down. So replicas tell each
other what they saw (`elsewhere.py`), and nothing is missing before all have told; where one doesn't for `PATIENCE` seconds,
nobody knows. And what should have followed is believed to be missing only where this process has learned `WARM` times that it
followed, and nearly always. Callers count once in that, or one who skips the audit again and again would make skipping it look
normal.
"""

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Collection
from math import log10
from threading import Lock
from typing import Final, NamedTuple

import msgspec

from authz_server.bundle import Bundle
from authz_server.elsewhere import ALONE, Elsewhere, Quarantined, Sighting
from authz_server.engine.call import Call
from authz_server.engine.canonical import to_workload
from authz_server.engine.finding import Finding, FindingCode, Surprise
from authz_server.engine.follow import Follow, Place, applies, missing, outcome_class, to_surprise
from authz_server.engine.policy import Enforcement, Mode
from authz_server.engine.record import OutcomeRecord
from authz_server.engine.verdict import Action, Basis, Verdict, to_finding
from authz_server.histories.visit import join_key

__all__ = ["GRACE_SECONDS", "PATIENCE", "WARM", "Afterwards"]

GRACE_SECONDS: Final = 0.5
"""How long after a call's access log entry what it causes may still come. Envoy buffers entries for 1 s by default."""
WARM: Final = 30
"""Times that something must have followed while this process watched before its absence means anything."""
PATIENCE: Final = 5.0
"""Seconds to wait until all replicas have told what they saw."""
_RELIABLE: Final = 0.05
"""Share of callers for whom it may have been missing, beyond which we evidently don't see what follows."""
_ODD_IF_SUCCESSFUL: Final = frozenset({FindingCode.MISSING_PARAMETER, FindingCode.UNKNOWN_COMBINATION})
"""What the profile holds against calls that succeeded (`EndpointProfile.combinations`)."""
_MAX_UNDER_WAY: Final = 20_000
_MAX_QUARANTINED: Final = 10_000
_MAX_TRACKED_CALLERS: Final = 1_000
_MOST_ASKED: Final = 500
"""Requests that others are asked about at a time."""


class _Cause(NamedTuple):
    """A call that something should follow, or that is `odd` unless it fails."""

    call: Call
    endpoint: str
    decision_id: str
    odd: Finding | None


class _Request:
    """One request id: where it has been."""

    __slots__ = ("heard", "places")

    def __init__(self) -> None:
        self.places: dict[str, set[Place]] = {}
        """By the workload that called."""
        self.heard: set[str] = set()


class _Track:
    """How reliably we see one thing follow."""

    __slots__ = ("callers", "seen")

    def __init__(self) -> None:
        self.seen = 0
        self.callers: set[str] = set()


class _Due(NamedTuple):
    at: float
    cause: _Cause
    request: _Request
    follows: tuple[Follow, ...]


class Afterwards:
    """Watches for what must follow. `note` and `quarantine_of` are on the request path; `poll` is called a few times a second."""

    def __init__(
        self,
        bundle: Callable[[], Bundle],
        enforcement: Callable[[], Enforcement],
        alert: Callable[[Verdict], None],
        elsewhere: Elsewhere = ALONE,
    ) -> None:
        self._bundle = bundle
        self._enforcement = enforcement
        self._alert = alert
        self._elsewhere = elsewhere
        self._lock = Lock()
        self._known: Bundle | None = None
        self._concerned: frozenset[str] = frozenset()
        self._requests: OrderedDict[str, _Request] = OrderedDict()
        self._causes: OrderedDict[str, _Cause] = OrderedDict()
        self._ids: dict[str, str] = {}
        self._due: deque[_Due] = deque()
        self._held: list[_Due] = []
        self._tracks: dict[tuple[Place, Place, tuple[Place, ...]], _Track] = {}
        self._quarantine: OrderedDict[str, tuple[float, Finding]] = OrderedDict()
        self.alerts = 0
        self.unsure = 0
        """What was missing where we can't be sure to see it."""

    def note(self, call: Call, verdict: Verdict) -> None:
        """Take note of a call that is let through; costs nothing where nothing is odd and nothing must follow."""
        endpoint = verdict.endpoint
        odd = _odd_if_successful(verdict) if verdict.reasons else None
        bundle = self._bundle()
        if bundle is not self._known:
            self._concerned = _concerned(bundle)
            self._known = bundle
        follows = call.workload in self._concerned and bool(call.request_id) and bool(endpoint)
        if odd is None and not follows:
            return
        with self._lock:
            if odd is not None or endpoint in bundle.models[call.workload].model.follows:
                self._expect(_Cause(call, endpoint, verdict.decision_id, odd))
            if follows:
                self._visit(call, endpoint)

    def _visit(self, call: Call, endpoint: str) -> None:
        request = self._requests.get(call.request_id)
        if request is None:
            request = self._requests[call.request_id] = _Request()
            if len(self._requests) > _MAX_UNDER_WAY:
                self._requests.popitem(last=False)
        caller = to_workload(call.caller.principal, "", "")
        request.places.setdefault(caller, set()).add((call.workload, endpoint))
        self._elsewhere.saw(call.request_id, Sighting(caller, call.workload, endpoint))

    def _expect(self, cause: _Cause) -> None:
        call = cause.call
        key = join_key(call.request_id, call.workload, call.method)
        self._causes[cause.decision_id] = cause
        self._ids[key] = cause.decision_id
        self._elsewhere.expects(cause.decision_id, key)
        if len(self._causes) > _MAX_UNDER_WAY:
            self._forget(self._causes.popitem(last=False)[1])

    def settle(self, record: OutcomeRecord, now: float | None = None) -> None:
        """Take note of how a call ended; what must follow it has `GRACE_SECONDS` from now."""
        if record.request_id and record.workload in self._concerned:
            self._elsewhere.saw(record.request_id, Sighting("", record.workload, ""))
        if not self._settle(record, time.monotonic() if now is None else now):
            self._elsewhere.ended(record)

    def _settle(self, record: OutcomeRecord, now: float) -> bool:
        """Tell whether it was a call of ours that something depends on."""
        if not self._requests and not self._causes:
            return False
        with self._lock:
            request = self._requests.get(record.request_id)
            if request is not None and record.workload:
                request.heard.add(record.workload)
            decision_id = record.id or self._ids.get(join_key(record.request_id, record.workload, record.method), "")
            cause = self._causes.pop(decision_id, None)
            if cause is None:
                return False
            self._forget(cause)
        if cause.odd is not None and 200 <= record.status < 400:
            self._raise(cause, (_to_success(cause.odd),), now)
        with self._lock:
            request = self._requests.get(cause.call.request_id)
            ready = self._bundle().models.get(cause.call.workload)
            if request is None or ready is None:
                return True
            outcomes = ready.model.follows.get(cause.endpoint, {})
            follows = outcomes.get(outcome_class(record.status)) or outcomes.get("")
            if follows:
                self._due.append(_Due(now + GRACE_SECONDS, cause, request, follows))
        return True

    def poll(self, now: float | None = None) -> None:
        """Hear what others saw, and raise the alerts that are due."""
        now = time.monotonic() if now is None else now
        due = self._held
        while self._due and self._due[0].at <= now and len(due) < _MOST_ASKED:
            due.append(self._due.popleft())
        news = self._elsewhere.exchange([one.cause.call.request_id for one in due])
        for quarantined in news.quarantined:
            self._refuse(quarantined, now)
        for record in news.ended:
            self._settle(record, now)
        self._held = []
        for one, seen in zip(due, news.seen, strict=True):
            if not self._judge(one, seen, now - news.age, now):
                self._held.append(one)

    def _judge(self, due: _Due, seen: Collection[Sighting], told_until: float, now: float) -> bool:
        """Raise an alert if something is missing; return whether that could be told, or can't any more."""
        with self._lock:
            _add(due.request, seen)
            if told_until < due.at and _absent(due):
                if now < due.at + PATIENCE:
                    return False
                self.unsure += 1
                return True
            gone = self._missing(due)
        if gone:
            endpoint = due.cause.endpoint
            self._raise(due.cause, tuple([to_finding(to_surprise(endpoint, follow), endpoint) for follow in gone]), now)
        return True

    def quarantine_of(self, session: str, now: float | None = None) -> Finding | None:
        """Tell why a caller is in quarantine, None if it isn't."""
        if not self._quarantine:
            return None
        now = time.monotonic() if now is None else now
        until, finding = self._quarantine.get(session, (0.0, None))
        return finding if now < until else None

    def _missing(self, due: _Due) -> list[Follow]:
        """List what is missing and would have been seen."""
        place = (due.cause.call.workload, due.cause.endpoint)
        caused = due.request.places.get(due.cause.call.workload, set())
        gone = _absent(due)
        believed = []
        for follow in due.follows:
            if not applies(follow, caused):
                continue
            track = self._tracks.setdefault((place, (follow.workload, follow.endpoint), follow.given), _Track())
            if follow not in gone:
                track.seen += 1
                continue
            if len(track.callers) < _MAX_TRACKED_CALLERS:
                track.callers.add(due.cause.call.caller.session or due.cause.decision_id)
            if track.seen >= WARM and len(track.callers) <= max(1.0, _RELIABLE * track.seen):
                believed.append(follow)
            else:
                self.unsure += 1
        return believed

    def _raise(self, cause: _Cause, findings: tuple[Finding, ...], now: float) -> None:
        call = cause.call
        enforcement = self._enforcement()
        rule = enforcement.endpoint(call.workload, cause.endpoint)
        p_value = min(finding.chance for finding in findings)
        if rule.mode is Mode.OFF or p_value > rule.budget:
            return
        self.alerts += 1
        session = call.caller.session
        if rule.quarantine_seconds > 0 and rule.mode is Mode.ENFORCE and session:
            quarantined = Quarantined(session, rule.quarantine_seconds, _to_quarantine(findings[0], cause.decision_id))
            self._refuse(quarantined, now)
            self._elsewhere.quarantine(quarantined)
        self._alert(
            Verdict(
                Action.DENY,
                Basis.AFTERWARDS,
                rule.mode,
                call.workload,
                cause.decision_id,
                self._bundle().revision,
                cause.endpoint,
                p_value,
                -log10(p_value),
                rule.budget,
                findings,
                call.method,
                call.path,
                call.caller.principal,
                session,
                call.request_id,
                call.ts,
            )
        )

    def _refuse(self, quarantined: Quarantined, now: float) -> None:
        session, seconds, finding = quarantined
        with self._lock:
            self._quarantine[session] = (now + seconds, finding)
            self._quarantine.move_to_end(session)
            if len(self._quarantine) > _MAX_QUARANTINED:
                self._quarantine.popitem(last=False)

    def _forget(self, cause: _Cause) -> None:
        key = join_key(cause.call.request_id, cause.call.workload, cause.call.method)
        if self._ids.get(key) == cause.decision_id:
            del self._ids[key]


def _odd_if_successful(verdict: Verdict) -> Finding | None:
    for one in verdict.reasons:
        if one.code in _ODD_IF_SUCCESSFUL:
            return to_finding(one, verdict.endpoint) if isinstance(one, Surprise) else one
    return None


def _add(request: _Request, seen: Collection[Sighting]) -> None:
    """Add what others saw under a request id."""
    for caller, workload, endpoint in seen:
        if endpoint:
            request.places.setdefault(caller, set()).add((workload, endpoint))
        else:
            request.heard.add(workload)


def _absent(due: _Due) -> list[Follow]:
    """List what should have followed and wasn't seen."""
    caused = due.request.places.get(due.cause.call.workload, set())
    return [follow for follow in missing(due.follows, caused) if follow.workload not in due.request.heard]


def _concerned(bundle: Bundle) -> frozenset[str]:
    """List the workloads whose calls something must follow, or must follow something."""
    found = set()
    for workload, ready in bundle.models.items():
        for outcomes in ready.model.follows.values():
            found.add(workload)
            found.update(follow.workload for follows in outcomes.values() for follow in follows)
    return frozenset(found)


def _to_success(finding: Finding) -> Finding:
    """Tell that what never succeeded did."""
    return msgspec.structs.replace(finding, code=FindingCode.UNEXPECTED_SUCCESS, text=f"it succeeded, although {finding.text}")


def _to_quarantine(finding: Finding, decision_id: str) -> Finding:
    text = f"this caller is in quarantine since decision {decision_id}: {finding.text}"
    return Finding(FindingCode.QUARANTINE, text, finding.seen, finding.normal, finding.evidence, finding.chance)
