"""What can be told of a call only when it is over: that something should have followed it, or that it should have failed.

In: every matched call, every access log entry, and a clock. Out: alerts, as Verdicts that refuse nothing, and callers to be put
into quarantine (`quarantine.py`). What followed is known from Checks, which Envoy makes before it lets a call through, and from
access log entries; a call's own entry starts the wait, so an entry that is lost is a call that isn't looked at, never an alert.

The second kind is a combination of parameters that never succeeded, as a login without its password: such a call may be let
through, since failing so is usual, and when it succeeds after all that is an alert.

Silence must not be taken for absence either: a Check may reach another replica, or none while we are down. So replicas tell each
other what they saw (`elsewhere.py`), and nothing is missing before all have told; where one doesn't for `PATIENCE` seconds,
nobody knows. And what should have followed is believed to be missing only where this process has learned `WARM` times that it
followed, and nearly always. Callers count once in that, or one who skips the audit again and again would make skipping it look
normal; one who invents callers can't do it in silence, and for some minutes only (`sightings.py`).
"""

import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Collection
from math import log10
from threading import Lock
from typing import Final, NamedTuple

import msgspec

from authz_server.bundle import Bundle
from authz_server.elsewhere import ALONE, Elsewhere, Sighting
from authz_server.engine.call import Call
from authz_server.engine.canonical import to_workload
from authz_server.engine.finding import Finding, FindingCode, Surprise
from authz_server.engine.follow import Follow, Place, applies, missing, outcome_class, to_surprise
from authz_server.engine.policy import Enforcement, Mode
from authz_server.engine.record import OutcomeRecord
from authz_server.engine.verdict import Action, Basis, Verdict, to_finding
from authz_server.histories.visit import join_key
from authz_server.quarantine import Quarantine, to_quarantined
from authz_server.sightings import REQUEST_SECONDS, WARM, Request, Track

__all__ = ["GRACE_SECONDS", "PATIENCE", "WARM", "Afterwards"]

GRACE_SECONDS: Final = 0.5
"""How long after a call's access log entry what it causes may still come. Envoy buffers entries for 1 s by default."""
PATIENCE: Final = 5.0
"""Seconds to wait until all replicas have told what they saw."""
_ODD_IF_SUCCESSFUL: Final = frozenset({FindingCode.MISSING_PARAMETER, FindingCode.UNKNOWN_COMBINATION})
"""What the profile holds against calls that succeeded (`EndpointProfile.combinations`)."""
_MAX_UNDER_WAY: Final = 20_000
_MOST_ASKED: Final = 500
"""Requests that others are asked about at a time."""

_log = logging.getLogger(__name__)


class _Cause(NamedTuple):
    """A call that something should follow, or that is `odd` unless it fails, without its parameters.

    `number`: of sightings of its request before it.
    """

    call: Call
    endpoint: str
    decision_id: str
    odd: Finding | None
    number: int


class _Due(NamedTuple):
    at: float
    cause: _Cause
    request: Request
    follows: tuple[Follow, ...]

    def caused(self) -> set[Place]:
        """List what the cause's workload called since."""
        return self.request.caused(self.cause.call.workload, self.cause.number)

    def absent(self) -> list[Follow]:
        """List what should have followed and wasn't seen."""
        return [follow for follow in missing(self.follows, self.caused()) if not self.request.heard_of(follow)]


class Afterwards:
    """Watches for what must follow. `note` and `quarantine.of` are on the request path; `poll` is called a few times a second."""

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
        self._requests: OrderedDict[str, Request] = OrderedDict()
        self._causes: OrderedDict[str, _Cause] = OrderedDict()
        self._ids: dict[str, str] = {}
        self._due: deque[_Due] = deque()
        self._held: list[_Due] = []
        self._tracks: dict[tuple[Place, Place, tuple[Place, ...]], Track] = {}
        self.quarantine = Quarantine()
        self.alerts = 0
        self.unsure = 0
        """What was missing where we can't be sure to see it."""

    def note(self, call: Call, verdict: Verdict, now: float | None = None) -> None:
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
        ready = bundle.models.get(call.workload)
        with self._lock:
            number = self._visit(call, endpoint, time.monotonic() if now is None else now) if follows else 0
            if odd is not None or (ready is not None and endpoint in ready.model.follows):
                bare = msgspec.structs.replace(call, parameters=(), flags=())  # what waits should weigh little
                self._expect(_Cause(bare, endpoint, verdict.decision_id, odd, number))

    def _visit(self, call: Call, endpoint: str, now: float) -> int:
        """Take note of where a request has been; return the sighting's number."""
        request = self._requests.get(call.request_id)
        if request is None or now - request.began > REQUEST_SECONDS:
            request = self._requests[call.request_id] = Request(now)
            self._requests.move_to_end(call.request_id)
            if len(self._requests) > _MAX_UNDER_WAY:
                self._requests.popitem(last=False)
        caller = to_workload(call.caller.principal, "", "")
        self._elsewhere.saw(call.request_id, Sighting(caller, call.workload, endpoint))
        return request.add(caller, (call.workload, endpoint))

    def _expect(self, cause: _Cause) -> None:
        call = cause.call
        self._causes[cause.decision_id] = cause
        if call.request_id:
            key = join_key(call.request_id, call.workload, call.method)
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
                request.hear(record.workload, record.method)
            decision_id = record.id
            if not decision_id and record.request_id:
                decision_id = self._ids.get(join_key(record.request_id, record.workload, record.method), "")
            cause = self._causes.pop(decision_id, None)
            if cause is None:
                return False
            self._forget(cause)
        if cause.odd is not None and 200 <= record.status < 400:
            self._raise(cause, (_to_success(cause.odd),), now)
        with self._lock:
            request = self._requests.get(cause.call.request_id)
            ready = self._bundle().models.get(cause.call.workload)
            if ready is None or cause.endpoint not in ready.model.follows:
                return True
            outcomes = ready.model.follows.get(cause.endpoint, {})
            follows = outcomes.get(outcome_class(record.status)) or outcomes.get("")
            if follows and request is not None and len(self._due) < _MAX_UNDER_WAY:
                self._due.append(_Due(now + GRACE_SECONDS, cause, request, follows))
            elif follows:
                self.unsure += 1
        return True

    def poll(self, now: float | None = None) -> None:
        """Hear what others saw, and raise the alerts that are due."""
        now = time.monotonic() if now is None else now
        due = self._held
        most = _MAX_UNDER_WAY if self._elsewhere is ALONE else _MOST_ASKED
        while self._due and self._due[0].at <= now and len(due) < most:
            due.append(self._due.popleft())
        news = self._elsewhere.exchange([one.cause.call.request_id for one in due])
        for quarantined in news.quarantined:
            self.quarantine.put(quarantined, now)
        for record in news.ended:
            self._settle(record, now)
        self._held = []
        for one, seen in zip(due, news.seen, strict=True):
            if not self._judge(one, seen, now - news.age, now):
                self._held.append(one)

    def _judge(self, due: _Due, seen: Collection[Sighting], told_until: float, now: float) -> bool:
        """Raise an alert if something is missing; return whether that could be told, or can't any more."""
        with self._lock:
            for caller, workload, endpoint in seen:
                if endpoint:
                    due.request.add(caller, (workload, endpoint))
                else:
                    due.request.hear(workload, "")
            if told_until < due.at and due.absent():
                if now < due.at + PATIENCE:
                    return False
                self.unsure += 1
                return True
            gone = self._missing(due, now)
        if gone:
            endpoint = due.cause.endpoint
            self._raise(due.cause, tuple([to_finding(to_surprise(endpoint, follow), endpoint) for follow in gone]), now)
        return True

    def _missing(self, due: _Due, now: float) -> list[Follow]:
        """List what is missing and would have been seen."""
        place = (due.cause.call.workload, due.cause.endpoint)
        caused = due.caused()
        gone = due.absent()
        believed = []
        for follow in due.follows:
            if not applies(follow, caused):
                continue
            track = self._tracks.setdefault((place, (follow.workload, follow.endpoint), follow.given), Track())
            if follow not in gone:
                track.follow(now)
            elif track.lack(due.cause.call.caller.session or due.cause.decision_id, now):
                believed.append(follow)
            else:
                self.unsure += 1
                if track.turned():
                    fields = {"workload": place[0], "endpoint": place[1], "follows": f"{follow.endpoint} at {follow.workload}"}
                    _log.warning("follow_no_longer_seen", extra={"fields": fields})
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
        if rule.quarantine_seconds > 0 and rule.mode is Mode.ENFORCE and session and not self._is_population(call):
            quarantined = to_quarantined(session, rule.quarantine_seconds, findings[0], cause.decision_id)
            self.quarantine.put(quarantined, now)
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
                time.time(),
            )
        )

    def _is_population(self, call: Call) -> bool:
        """Tell whether a session is a gateway's or a service's: refusing it would refuse everybody behind it."""
        ready = self._bundle().models.get(call.workload)
        return ready is not None and call.caller.session in ready.model.sequence.populations

    def _forget(self, cause: _Cause) -> None:
        key = join_key(cause.call.request_id, cause.call.workload, cause.call.method)
        if self._ids.get(key) == cause.decision_id:
            del self._ids[key]


def _odd_if_successful(verdict: Verdict) -> Finding | None:
    for one in verdict.reasons:
        if one.code in _ODD_IF_SUCCESSFUL:
            return to_finding(one, verdict.endpoint) if isinstance(one, Surprise) else one
    return None


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
