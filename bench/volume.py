"""The volume model on normal traffic in time order, learning as it goes, and on what is injected into it; what it costs.

In: seeded traffic (`volume_traffic.py`, on which it was developed) and `ruetoj.jsonl.gz` where that is there. Out: how many
windows and calls are alarmed, learned each time from the past alone; floods at 3, 10 and 30 times a caller's own peak so far: how
many are alarmed within two windows, and how many calls got through; microseconds a call, bytes a caller.
"""

import copy
import gc
import time
import tracemalloc
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, Final

import msgspec

from authz_server.engine.call import Caller
from authz_server.engine.counters import MAX_PACES, Counters
from authz_server.engine.endpoint import EndpointTable, path_parameters
from authz_server.engine.observe import Observer
from authz_server.engine.pace import BITS, LONG, MINUTE, SHORT, Footprint, to_footprint
from authz_server.engine.record import CallRecord, to_parsed_call
from authz_server.engine.volume import Excess, ReadyVolume, own_key, retry_after, to_surprise
from authz_server.histories.outcomes import Outcomes
from authz_server.histories.visit import to_visit
from bench.datasets import data_directory
from bench.table import Row, median, table, write_json
from bench.volume_traffic import ATTACKS, DAY, attack, normal
from trainer.endpoint_cost import CostLearner
from trainer.fit_model import Plan
from trainer.fit_volume import VolumeLearner
from trainer.imports import iter_calls_file
from trainer.support import WINDOWS
from trainer.survey import Survey

__all__ = ["Options", "run"]

_MULTIPLES: Final = (3, 10, 30)
_SPEED_CALLS: Final = 20_000
_PUBLIC: Final = "ruetoj.jsonl.gz"


class Options(msgspec.Struct, frozen=True):
    """What is measured: `days` of seeded traffic, learned anew every `every` days after a `first` share of the time."""

    seed: int = 1
    days: int = 28
    every: float = 2.0
    first: float = 0.25
    budget: float = 1e-3


class _Judge:
    """A model of the past, and the counters that go on: what a server does, without the rest of it."""

    def __init__(self, budget: float) -> None:
        self.counters = Counters()
        self.volume: ReadyVolume | None = None
        self.table = EndpointTable([])
        self._budget = budget

    def learn(self, past: Sequence[CallRecord]) -> None:
        """Learn the volume model of the past as `trainer/train.py` does, and nothing else."""
        survey = Survey()
        calls = [to_parsed_call(record) for record in past]
        for number, record in enumerate(past):
            survey.update(record, number * WINDOWS // len(past))
        table = Plan(survey).table
        endpoints = [table.match(call.method, call.segments)[0] for call in calls]
        costs = CostLearner()
        for record, endpoint in zip(past, endpoints, strict=True):
            costs.update(record, endpoint)
        learner = VolumeLearner(costs, survey.first_ts, survey.last_ts)
        for record, call, endpoint in zip(past, calls, endpoints, strict=True):
            learner.update(record, call, endpoint)
        model = learner.finish()
        self.volume = ReadyVolume(model) if model is not None else None
        self.table = table

    def judge(self, record: CallRecord) -> Excess | None:
        """Count a call and judge its pace; None: normal."""
        call = to_parsed_call(record)
        endpoint, _ = self.table.match(call.method, call.segments)
        visit = to_visit(call, endpoint, record.id, path_parameters(endpoint), self.volume)
        footprint = visit.footprint or to_footprint(call, endpoint, path_parameters(endpoint), 1.0)
        address = visit.address
        paces = self.counters.visit(record.workload, record.session, address, record.ts, footprint, visit.limits)
        if record.status is not None and not 100 <= record.status < 400:
            self.counters.fail(record.workload, record.session, address, record.ts)
        if self.volume is None:
            return None
        excess = self.volume.judge(Caller(record.principal, record.session, address), paces, record.ts)
        if excess is None or excess.p_value > self._budget:
            return None
        relief = footprint.cost if excess.own <= self._budget else None
        self.counters.refuse(record.workload, record.session, address, record.ts, relief)
        return excess


class Windows(msgspec.Struct):
    """Normal traffic judged: calls, and windows of each length in which a caller called, all and alarmed."""

    calls: int = 0
    refused: int = 0
    windows: dict[str, int] = {}
    alarmed: dict[str, int] = {}
    reasons: dict[str, int] = {}


class Floods(msgspec.Struct):
    """Floods of one window and multiple: how many, alarmed within two windows, seconds until then, share served after one.

    By callers that the model knows by name (`heavy`), or by others, who are held against the busiest of their kind.
    """

    heavy: bool
    window: float
    multiple: int
    floods: int = 0
    caught: int = 0
    seconds: list[float] = []
    served: list[float] = []


def run(options: Options, files: Sequence[Path] = ()) -> None:
    """Measure everything, print tables, write bench/out/volume.json; or only print those of `files`."""
    found: dict[str, Any] = {}
    observer = Observer("bench")
    for file in files:
        _measure(file.name, list(iter_calls_file(str(file), observer)), options, None)
    if files:
        return
    records = normal(options.seed, options.days, observer)
    found["seeded"] = _measure("seeded shop (developed on)", records, options, observer)
    path = data_directory() / _PUBLIC
    if path.exists():
        found["ruetoj"] = _measure("ruetoj (public log)", list(iter_calls_file(str(path), observer)), options, None)
    else:
        print(f"\nruetoj: skipped, there is no {_PUBLIC} in the data directory (BENCH_DATA)")
    found["cost"] = _cost(records, options)
    print(f"\nwritten to {write_json('volume', found)}")


def _measure(name: str, records: Sequence[CallRecord], options: Options, observer: Observer | None) -> dict[str, Any]:
    print(f"\n{name}: {len(records):,} calls, {(records[-1].ts - records[0].ts) / DAY:.0f} days", flush=True)
    judge = _Judge(options.budget)
    tally, floods, attacks = Windows(), _floods(), dict[str, list[tuple[float, float]]]()
    seen: set[tuple[str, str, float]] = set()
    alarmed: set[tuple[str, str, float]] = set()
    began = records[0].ts + options.first * (records[-1].ts - records[0].ts)
    learn_at = began
    for number, record in enumerate(records):
        if record.ts >= learn_at:
            judge.learn(records[:number])
            learn_at += (1 + (record.ts - learn_at) // (options.every * DAY)) * options.every * DAY
            _inject(judge, records[:number], record.ts, floods)
            for attacker in ATTACKS if observer is not None else ():
                calls = attack(attacker, options.seed, record.ts, observer) if observer is not None else []
                attacks.setdefault(attacker, []).append(_attacked(judge, calls))
        excess = judge.judge(record)
        if record.ts < began:
            continue
        tally.calls += 1
        windows = {(record.session, f"{w:g} s", record.ts // w) for w in (SHORT, MINUTE, LONG)}
        seen |= windows
        if excess is not None:
            tally.refused += 1
            alarmed |= windows
            reason = to_surprise(excess)
            tally.reasons[reason.code.value] = tally.reasons.get(reason.code.value, 0) + 1
            if tally.reasons[reason.code.value] == 1:
                print(f"  first: {reason.seen}; in {reason.evidence:,} windows {reason.normal}", end="; ")
                print(f"{excess.whose}, p {excess.p_value:.1g}, retry after {retry_after(excess, options.budget)} s")
    for length in (f"{window:g} s" for window in (SHORT, MINUTE, LONG)):
        tally.windows[length] = sum(one[1] == length for one in seen)
        tally.alarmed[length] = sum(one[1] == length for one in alarmed)
    _print(name, tally, floods, attacks)
    return {"normal": tally, "floods": floods, "attacks": attacks}


def _print(name: str, tally: Windows, floods: Sequence[Floods], attacks: dict[str, list[tuple[float, float]]]) -> None:
    rows: list[Row] = [("calls", tally.calls, tally.refused, _percent(tally.refused, tally.calls))]
    rows += [(f"windows of {w}", n, tally.alarmed[w], _percent(tally.alarmed[w], n)) for w, n in tally.windows.items()]
    total, wrong = sum(tally.windows.values()), sum(tally.alarmed.values())
    rows.append(("windows", total, wrong, _percent(wrong, total)))
    print(table(f"{name}: normal traffic, learned from the past alone (target: at most 0.1 %)", ("", "n", "alarmed", "%"), rows))
    flood_rows: list[Row] = [
        (
            f"{f.multiple} x peak of {f.window:g} s, {'heavy' if f.heavy else 'other'}",
            f.floods,
            f.caught,
            _percent(f.caught, f.floods),
            *_middle(f.seconds, f.served),
        )
        for f in floods
        if f.floods
    ]
    header = ("", "n", "caught", "%", "s until then", "served after a window %")
    print(table("floods, sent evenly, at multiples of the caller's own peak so far: caught within 2 windows", header, flood_rows))
    attack_rows: list[Row] = [
        (who, len(one), sum(at >= 0 for at, _ in one), *_middle([at for at, _ in one if at >= 0], [share for _, share in one]))
        for who, one in attacks.items()
    ]
    if attack_rows:
        columns = ("", "n", "caught", "s until then", "served of 10 min %")
        print(table("attacks of 10 minutes by callers never seen", columns, attack_rows))


def _middle(seconds: Sequence[float], shares: Sequence[float]) -> tuple[str, str]:
    return f"{median(seconds):.1f}" if seconds else "-", f"{median(shares) * 100:.1f}" if shares else "-"


def _percent(hits: int, n: int) -> str:
    return f"{hits / n * 100:.3f}" if n else "-"


def _floods() -> list[Floods]:
    return [Floods(heavy, window, multiple) for heavy in (True, False) for window in (SHORT, MINUTE) for multiple in _MULTIPLES]


def _inject(judge: _Judge, past: Sequence[CallRecord], ts: float, floods: Iterable[Floods]) -> None:
    """Have callers of the last week flood, each from the state that the counters are in: the busiest ten of them."""
    recent: dict[str, list[CallRecord]] = defaultdict(list)
    for record in past:
        recent[record.session].append(record)
    active = sorted((calls for calls in recent.values() if calls[-1].ts > ts - 7 * DAY), key=len, reverse=True)[:10]
    own = judge.volume.model.own if judge.volume is not None else {}
    for calls in active:
        heavy = own_key("session", calls[0].session) in own
        for flood in [one for one in floods if one.heavy == heavy]:
            peak = _peak(calls, flood.window)
            count = peak * flood.multiple
            trial = _trial(judge, calls[-1])
            step = flood.window / count
            sent = [msgspec.structs.replace(calls[-1], ts=ts + 1 + step * number, status=200) for number in range(2 * count)]
            caught, served = -1.0, 0
            for number, record in enumerate(sent):
                refused = trial.judge(record) is not None
                if refused and caught < 0:
                    caught = record.ts - ts - 1
                served += number >= count and not refused
            flood.floods += 1
            flood.caught += caught >= 0
            flood.seconds += [caught] if caught >= 0 else []
            flood.served.append(served / count)


def _trial(judge: _Judge, record: CallRecord) -> _Judge:
    """Copy a judge with the counters of the workload and of one caller, as they are."""
    trial = copy.copy(judge)
    trial.counters = Counters()
    mine = [(record.workload, record.session, True), (record.workload, record.address, False)]
    trial.counters._callers.update({key: copy.deepcopy(pace) for key, pace in judge.counters._callers.items() if key in mine})
    trial.counters._workloads.update(copy.deepcopy(judge.counters._workloads))
    return trial


def _peak(calls: Sequence[CallRecord], window: float) -> int:
    start = most = 0
    for end, record in enumerate(calls):
        while calls[start].ts <= record.ts - window:
            start += 1
        most = max(most, end - start + 1)
    return most


def _attacked(judge: _Judge, calls: Sequence[CallRecord]) -> tuple[float, float]:
    """Tell when an attack was first refused, -1 for never, and which share of its calls was served."""
    trial = _trial(judge, calls[0])
    served, at = 0, -1.0
    for record in calls:
        if trial.judge(record) is None:
            served += 1
        elif at < 0:
            at = record.ts - calls[0].ts
    return at, served / len(calls)


def _cost(records: Sequence[CallRecord], options: Options) -> dict[str, float]:
    """Time what is added to a call, from making its footprint to remembering it until its outcome comes; and weigh a caller."""
    judge = _Judge(options.budget)
    judge.learn(records[: len(records) // 3])
    volume = judge.volume
    assert volume is not None
    calls = []
    for record in records[:_SPEED_CALLS]:
        call = to_parsed_call(record)
        endpoint = judge.table.match(call.method, call.segments)[0]
        calls.append((call, endpoint, record.id, path_parameters(endpoint)))
    best: dict[str, float] = {}
    for _ in range(5):
        counters, outcomes = Counters(), Outcomes(Lock())
        t0 = time.thread_time()
        for call, endpoint, name, where in calls:
            to_visit(call, endpoint, name, where)
        t1 = time.thread_time()
        visits = [to_visit(call, endpoint, name, where, volume) for call, endpoint, name, where in calls]
        t2 = time.thread_time()
        paces = [
            counters.visit(one.workload, one.session, one.address, one.ts, one.footprint or Footprint(), one.limits)
            for one in visits
        ]
        t3 = time.thread_time()
        for (call, *_), pace in zip(calls, paces, strict=True):
            volume.judge(call.caller, pace, call.ts)
        t4 = time.thread_time()
        for one in visits:
            outcomes.expect(one)
        t5 = time.thread_time()
        for _ in calls:
            _yardstick()
        added = (t2 - t1) - (t1 - t0)
        spent = {"footprint and limits": added, "count": t3 - t2, "judge": t4 - t3, "remember": t5 - t4}
        spent |= {"all": sum(spent.values()), "yardstick": time.thread_time() - t5}
        best = {key: min(best.get(key, 1e9), one / len(calls) * 1e6) for key, one in spent.items()}
    weights = {calls: _bytes(calls) for calls in (1, 2, 20, 2_000)}
    timed: list[Row] = [(key, f"{value:.2f}") for key, value in best.items()]
    title = "added to a call, microseconds of CPU, best of 5 (target: all under 10; yardstick: 100 additions)"
    print("\n" + table(title, ("", "us"), timed))
    told = ", ".join([f"{size:.0f} after {calls:,}" for calls, size in weights.items()])
    print(f"bytes of one of at most {MAX_PACES:,} callers, with its key, by its calls: {told}")
    return {**best, **{f"bytes_after_{calls}_calls": size for calls, size in weights.items()}}


def _yardstick() -> int:
    """Tell how fast this machine is at this moment: 100 additions."""
    total = 0
    for i in range(100):
        total += i * i & 7
    return total


def _bytes(calls: int) -> float:
    """Weigh a caller after so many calls, of several windows."""
    callers = max(20, 2_000 // calls)
    counters = Counters()
    tracemalloc.start()
    for caller in range(callers):
        name = f"{caller:016x}"
        for number in range(calls):
            counters.visit("shop/shop", name, "", number * 0.7, Footprint(1.3, number % 251, (number % BITS,)))
    gc.collect()
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return size / len(counters)
