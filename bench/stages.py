"""The stages of one Check in this process: p50 and p99 of each alone, on calls that differ as live ones do.

`STAGES` is the straight line of `authz_server/check.py`, taken apart; `check` is the real one, to see that the parts add up.
Every message is another one, more of them than the observer's caches hold, so that what is cached here is what is cached live.
"""

import random
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from envoy.service.auth.v3.external_auth_pb2 import CheckRequest

from authz_server.afterwards import Afterwards
from authz_server.bundle import Bundle
from authz_server.check import Checker
from authz_server.decision_log import DecisionLog
from authz_server.engine.call import Call
from authz_server.engine.canonical import to_call
from authz_server.engine.decide import decide
from authz_server.engine.history import History, add_step
from authz_server.engine.observe import Observer
from authz_server.engine.policy import Enforcement, Rule, SessionSource
from authz_server.engine.record import encode_record, to_call_record
from authz_server.engine.verdict import Verdict, to_verdict
from authz_server.histories.memory import MemoryHistories
from authz_server.histories.visit import to_visit
from authz_server.metrics import Metrics
from authz_server.recorder import Recorder
from authz_server.request import to_raw
from authz_server.response import to_response
from authz_server.segments import SegmentWriter
from bench.table import quantile

__all__ = ["STAGES", "decide_us", "measure_stages"]

STAGES: Final = (
    *("parse", "to_raw", "to_call", "past", "decide", "to_verdict", "to_response", "listener"),
    *("check", "record", "yardstick"),
)
"""`past`: matching, and asking the histories what the caller did and how fast it goes; `listener`: metrics, decision log,
recorder's queue; `check`: all of these by the real Checker; `record`: encoding the stored line, which another thread does behind
the answer; `yardstick`: a fixed loop, by which runs on busy or other machines can be compared."""
_ROUNDS: Final = 3
_now = time.perf_counter_ns


def decide_us(calls: Sequence[Call], bundle: Bundle, sample: int = 4000) -> tuple[float, float]:
    """Time `decide()` alone on up to `sample` calls, evenly spread, each with its caller's history: p50 and p99."""
    history = History(calls[0].ts)
    spent = []
    for call in calls[:: max(1, len(calls) // sample)]:
        ready = bundle.models.get(call.workload)
        if ready is None:
            continue
        caller = history.caller(call.workload, call.caller.session, call.ts) if call.caller.session else None
        began = _now()
        judgement = decide(call, ready, ready.match(call), caller)
        spent.append(_now() - began)
        if caller is not None and judgement.endpoint:
            add_step(caller, judgement.endpoint)
    return _us(spent)


def measure_stages(
    cases: Mapping[str, tuple[Sequence[bytes], Sequence[SessionSource]]], bundle: Bundle, directory: Path
) -> dict[str, dict[str, tuple[float, float]]]:
    """Time every stage for every case; p50 and p99 in microseconds. Cases take turns, `_ROUNDS` times each."""
    spent: dict[str, dict[str, list[int]]] = {name: {stage: [] for stage in STAGES} for name in cases}
    lines = {name: _Line(bundle, sources, directory / name) for name, (_, sources) in cases.items()}
    for turn in range(_ROUNDS):
        for name, (messages, _) in cases.items():
            share = messages[turn::_ROUNDS]
            for message in share[: len(share) // 2]:
                lines[name].step(message, spent[name])
            for message in share[len(share) // 2 :]:
                lines[name].whole(message, spent[name])
    for line in lines.values():
        line.close()
    clock = quantile([-(_now() - _now()) for _ in range(10_000)], 0.5)
    return {
        name: {stage: _us([one - clock for one in times]) for stage, times in stages.items()} for name, stages in spent.items()
    }


def _loop() -> int:
    total = 0
    for i in range(300):
        total += i * i & 7
    return total


def _us(spent: Sequence[float]) -> tuple[float, float]:
    return quantile(spent, 0.5) / 1e3, quantile(spent, 0.99) / 1e3


class _Line:
    """One server's parts without gRPC; its recorder's thread isn't started, so that nothing runs beside what is measured."""

    def __init__(self, bundle: Bundle, sources: Sequence[SessionSource], directory: Path) -> None:
        self._bundle = bundle
        self._rule = Rule(session=tuple(sources))
        self._observer = Observer()
        self._metrics = Metrics(lambda: bundle.models)
        self._log = DecisionLog(None)
        self._recorder = Recorder(SegmentWriter(str(directory), self._observer.key_id), max_queue=1 << 30)
        self._histories = MemoryHistories(0.0)
        enforcement = Enforcement(self._rule, {})
        self._checker = Checker(
            lambda: enforcement,
            lambda: bundle,
            self._observer,
            MemoryHistories(0.0),
            Afterwards(lambda: bundle, lambda: enforcement, lambda _: None),
            self._listen,
            self._metrics.error,
        )

    def _listen(self, verdict: Verdict, call: Call | None, seconds: float) -> None:
        self._metrics.observe(verdict, seconds)
        self._log.put(verdict, seconds)
        if call is not None:
            self._recorder.put_call(call, verdict)

    def step(self, message: bytes, spent: dict[str, list[int]]) -> None:
        t0 = _now()
        request = CheckRequest.FromString(message)
        t1 = _now()
        raw = to_raw(request, 0.0)
        t2 = _now()
        call = to_call(raw, self._observer, self._rule.session)
        t3 = _now()
        ready = self._bundle.models[call.workload]
        match = ready.match(call)
        decision_id = f"{random.getrandbits(128):032x}"
        visit = to_visit(call, match[0], decision_id, ready.positions.get(match[0], ()), ready.volume)
        past = self._histories.visit(visit) if call.caller.session or ready.volume is not None else None
        t4 = _now()
        judgement = decide(call, ready, match, past)
        t5 = _now()
        verdict = to_verdict(judgement, call, self._rule, decision_id, ready.revision)
        t6 = _now()
        to_response(verdict)
        t7 = _now()
        self._listen(verdict, call, 1e-4)
        t8 = _now()
        times = (t1 - t0, t2 - t1, t3 - t2, t4 - t3, t5 - t4, t6 - t5, t7 - t6, t8 - t7)
        for stage, time_ns in zip(STAGES, times, strict=False):
            spent[stage].append(time_ns)
        t9 = _now()
        encode_record(to_call_record(call, verdict))
        t10 = _now()
        _loop()
        spent["record"].append(t10 - t9)
        spent["yardstick"].append(_now() - t10)

    def whole(self, message: bytes, spent: dict[str, list[int]]) -> None:
        began = _now()
        self._checker.check(message)
        spent["check"].append(_now() - began)

    def close(self) -> None:
        self._log.close()
