"""The Check: CheckRequest -> Call -> Verdict -> CheckResponse in one straight line.

Also the one place that turns an exception into an answer.

A new reader starts here: `Checker.check` is what Envoy calls, `_verdict` is what decides.
"""

import logging
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, Protocol

import grpc
import msgspec
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest

from authz_server.afterwards import Afterwards
from authz_server.bundle import Bundle
from authz_server.engine.call import CONNECTION, Call
from authz_server.engine.canonical import RawCall, to_call
from authz_server.engine.decide import Judgement, decide
from authz_server.engine.finding import Finding
from authz_server.engine.history import Snapshot
from authz_server.engine.model import Match, ReadyModel
from authz_server.engine.observe import Observer
from authz_server.engine.policy import Enforcement, Mode, Rule
from authz_server.engine.verdict import Action, Basis, Verdict, to_verdict
from authz_server.histories.gaps import UNKNOWN_PAST, Gaps
from authz_server.histories.visit import Histories, to_visit
from authz_server.request import to_raw
from authz_server.response import to_response

__all__ = ["Checker", "Listener"]

_SERVICE: Final = "envoy.service.auth.v3.Authorization"
_CLOCK_SECONDS: Final = 10.0
"""How far an Envoy's clock may be from ours; beyond that ours counts, or one wrong clock would freeze its callers' windows."""

_log = logging.getLogger(__name__)


class Listener(Protocol):
    """Is told of every decision, on the request path: must not block, must not raise."""

    def __call__(self, verdict: Verdict, call: Call | None, seconds: float) -> None:
        """Take note of a decision; `call` is None where none could be made of the request."""


class Checker:
    """Answers Checks under the policy and bundle in force at that moment, and what the callers did before.

    `enforcement` and `bundle` return the current ones; each is read once a Check, so that one answer has one truth.
    """

    def __init__(
        self,
        enforcement: Callable[[], Enforcement],
        bundle: Callable[[], Bundle],
        observer: Observer,
        histories: Histories,
        afterwards: Afterwards,
        listener: Listener,
        on_error: Callable[[str], None],
    ) -> None:
        self._enforcement = enforcement
        self._bundle = bundle
        self._observer = observer
        self._listener = listener
        self._on_error = on_error
        self._histories = histories
        self._gaps = Gaps()
        self._afterwards = afterwards

    def handler(self, pool: ThreadPoolExecutor) -> grpc.GenericRpcHandler:
        """Bind the service for `grpc.server`; bytes in and out, so that decoding is inside the one `try`.

        Checks run on `pool` alone, so that access log streams, which hold a thread for as long as they live, don't starve them.
        """
        behaviour = partial(self._check)
        behaviour.experimental_thread_pool = pool  # type: ignore[attr-defined]  # grpc reads it, else uses the server's pool
        return grpc.method_handlers_generic_handler(_SERVICE, {"Check": grpc.unary_unary_rpc_method_handler(behaviour)})

    def _check(self, data: bytes, context: grpc.ServicerContext) -> bytes:
        remaining = context.time_remaining()
        if remaining is not None and remaining <= 0:
            self._on_error("deadline")
            context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "the deadline passed while the call waited")
        return self.check(data)

    def check(self, data: bytes) -> bytes:
        """Answer one serialised CheckRequest; never raises. What it costs, stage by stage: `python -m bench speed`."""
        started = time.perf_counter()
        raw: RawCall | None = None
        call: Call | None = None
        decision_id = f"{random.getrandbits(128):032x}"  # an identifier, not a secret
        enforcement = self._enforcement()
        try:
            now = time.time()
            raw = to_raw(CheckRequest.FromString(data), now)
            if abs(raw.ts - now) > _CLOCK_SECONDS:
                raw = msgspec.structs.replace(raw, ts=now)
            rule = enforcement.workload(raw.workload)
            call = to_call(raw, self._observer, rule.session)
            verdict = self._verdict(call, enforcement, rule, decision_id)
            answer = to_response(verdict)
        except Exception as error:
            self._on_error(type(error).__name__)
            _log.exception("check_failed", extra={"fields": {"decision_id": decision_id}})
            workload = raw.workload if raw is not None else ""
            verdict = _failed(workload, self._rule_of(call, workload, enforcement), decision_id)
            answer = to_response(verdict)
        self._listener(verdict, call, time.perf_counter() - started)
        return answer

    def _rule_of(self, call: Call | None, workload: str, enforcement: Enforcement) -> Rule:
        """Look up what holds where judging failed: for the call's endpoint if it can be matched, else for its workload."""
        ready = self._bundle().models.get(workload)
        if call is None or ready is None:
            return enforcement.workload(workload)
        try:
            return enforcement.endpoint(workload, ready.match(call)[0])
        except Exception:
            return enforcement.workload(workload)

    def _verdict(self, call: Call, enforcement: Enforcement, rule: Rule, decision_id: str) -> Verdict:
        """Judge a call and hold the judgement against the policy."""
        bundle = self._bundle()
        ready = bundle.models.get(call.workload)
        if call.method == CONNECTION and (ready is None or not ready.connections):
            return _not_http(call, rule, decision_id, bundle.revision)
        if ready is None or rule.mode is Mode.OFF:
            self._gaps.unwatched(call.workload, call.ts)
            basis = Basis.OFF if rule.mode is Mode.OFF else Basis.NO_MODEL
            return _unjudged(call, basis, rule, decision_id, bundle.revision)
        match = ready.match(call)
        verdict = self._judge(call, ready, match, enforcement, decision_id)
        if not verdict.refused:
            self._afterwards.note(call, verdict)
        return verdict

    def _judge(self, call: Call, ready: ReadyModel, match: Match, enforcement: Enforcement, decision_id: str) -> Verdict:
        counted = ready.volume is not None
        if call.method == CONNECTION or not (call.caller.session or counted):
            return _hold(decide(call, ready, match, None), call, enforcement, decision_id, ready.revision)
        endpoint = match[0]
        quarantined = self._afterwards.quarantine.of(call.caller.session) if call.caller.session else None
        if quarantined is not None:
            rule = enforcement.endpoint(call.workload, endpoint)
            if rule.quarantine_seconds > 0 and rule.mode is Mode.ENFORCE:
                return _quarantined(call, rule, decision_id, ready.revision, quarantined)
        visit = to_visit(call, endpoint, decision_id, ready.positions.get(endpoint, ()), ready.volume)
        past = self._histories.visit(visit)
        if past is not None and self._gaps.lacks(call.workload, ready, call.ts):
            past = Snapshot(UNKNOWN_PAST.watched, UNKNOWN_PAST.ever, UNKNOWN_PAST.recent, past.paces)
        judgement = decide(call, ready, match, past)
        verdict = _hold(judgement, call, enforcement, decision_id, ready.revision)
        if verdict.refused:
            self._histories.take_back(visit, relieves=judgement.own_p_value <= verdict.budget)
        return verdict


def _hold(judgement: Judgement, call: Call, enforcement: Enforcement, decision_id: str, revision: str) -> Verdict:
    rule = enforcement.endpoint(call.workload, judgement.endpoint)
    if rule.mode is Mode.OFF:
        return _unjudged(call, Basis.OFF, rule, decision_id, revision)
    return to_verdict(judgement, call, rule, decision_id, revision)


def _unjudged(call: Call, basis: Basis, rule: Rule, decision_id: str, revision: str) -> Verdict:
    return Verdict(
        Action.ALLOW,
        basis,
        rule.mode,
        call.workload,
        decision_id,
        revision,
        method=call.method,
        path=call.path,
        caller=call.caller.principal,
        session=call.caller.session,
        request_id=call.request_id,
        ts=call.ts,
    )


def _quarantined(call: Call, rule: Rule, decision_id: str, revision: str, finding: Finding) -> Verdict:
    verdict = _unjudged(call, Basis.QUARANTINE, rule, decision_id, revision)
    return msgspec.structs.replace(verdict, action=Action.DENY, reasons=(finding,))


def _not_http(call: Call, rule: Rule, decision_id: str, revision: str) -> Verdict:
    """Answer a Check of Envoy's network filter, for a workload where no connections were learned, as the policy says."""
    verdict = _unjudged(call, Basis.NOT_HTTP, rule, decision_id, revision)
    if rule.non_http_allow or rule.mode is not Mode.ENFORCE:
        return verdict
    return msgspec.structs.replace(verdict, action=Action.DENY)


def _failed(workload: str, rule: Rule, decision_id: str) -> Verdict:
    """Answer where judging failed: by `failure_mode_allow`; in dry run nothing is refused, not even then."""
    action = Action.ALLOW if rule.failure_mode_allow or rule.mode is not Mode.ENFORCE else Action.DENY
    return Verdict(action, Basis.ERROR, rule.mode, workload, decision_id, ts=time.time())
