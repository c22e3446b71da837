"""Metrics for Prometheus. In: each Verdict with its duration, and functions that read other parts' counters. Out: the exposition.

On the request path nothing of prometheus-client runs: `Counter.inc` and `Histogram.observe` lock, and cost 1.1 and 2.3
microseconds here (2026-11). Each thread counts in plain lists of its own, which are summed when somebody scrapes. The names of
all metrics stand in this module, and every label has a bounded set of values.
"""

import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from authz_server.engine.finding import FindingCode
from authz_server.engine.policy import Mode
from authz_server.engine.verdict import Action, Basis, Verdict

__all__ = ["BUCKETS", "MAX_ERROR_KINDS", "MAX_UNKNOWN_WORKLOADS", "OTHER", "PULLED", "Metrics", "Reading"]

BUCKETS: Final = (
    *(0.00005, 0.000075, 0.0001, 0.00015, 0.0002, 0.0003, 0.0005, 0.00075, 0.001, 0.0015, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25),
)
"""Upper bounds in seconds: a Check takes about 100 microseconds here, Envoy gives up after 200 ms by default."""
MAX_UNKNOWN_WORKLOADS: Final = 50
"""Workloads that neither bundle nor policy names and still get a label; their name may be the client's word, so not all do."""
MAX_ERROR_KINDS: Final = 50
OTHER: Final = "other"

Reading = float | Mapping[str, float]
"""A value, or values by the metric's label."""


class _Pulled(NamedTuple):
    kind: str
    label: str
    help: str


PULLED: Final = {
    "authz_recorder_queue_depth": _Pulled("gauge", "", "Recorded calls that wait to be written."),
    "authz_recorder_dropped": _Pulled("counter", "cause", "Calls not recorded, by cause."),
    "authz_recorder_written": _Pulled("counter", "", "Calls and outcomes recorded."),
    "authz_recorder_uploads": _Pulled("counter", "result", "Segments uploaded, by result."),
    "authz_decision_log_queue_depth": _Pulled("gauge", "", "Decisions that wait to be logged."),
    "authz_decision_log_lines": _Pulled("counter", "", "Decisions logged."),
    "authz_decision_log_dropped": _Pulled(
        "counter", "cause", "Decisions not logged that should have been, by cause: queue or disk."
    ),
    "authz_outcomes_received": _Pulled("counter", "", "Access log entries received."),
    "authz_outcomes_joined": _Pulled("counter", "", "Access log entries joined to their Check."),
    "authz_alerts": _Pulled("counter", "", "Alerts raised when a call was over."),
    "authz_alerts_unsure": _Pulled("counter", "", "Calls that should have followed, where we can't be sure to see them."),
    "authz_callers": _Pulled("gauge", "", "Callers whose history is kept."),
    "authz_history_degraded": _Pulled("gauge", "", "1 while the shared histories can't be asked and no sequence is judged."),
    "authz_history_faults": _Pulled("counter", "kind", "What went wrong with the shared histories, by kind."),
    "authz_history_missed": _Pulled("counter", "", "Calls that were answered without their caller's shared history."),
    "authz_history_holes": _Pulled("counter", "", "How often all shared histories began anew because steps were missing."),
    "authz_history_dropped": _Pulled("counter", "", "Outcomes and refusals that the shared histories weren't told of."),
    "authz_history_queue_depth": _Pulled("gauge", "", "Outcomes and refusals that wait for the shared histories."),
    "authz_history_round_trips": _Pulled("counter", "", "Round trips to the shared histories that calls waited for."),
    "authz_history_round_trip_seconds": _Pulled("counter", "", "Seconds that calls waited for these round trips."),
    "authz_bundle_info": _Pulled("gauge", "revision", "1 for the bundle revision in force; empty: none."),
    "authz_bundle_created_seconds": _Pulled("gauge", "", "When the bundle in force was trained, in seconds since the epoch."),
    "authz_bundle_age_seconds": _Pulled("gauge", "", "Seconds since the bundle in force was trained."),
    "authz_bundle_workloads": _Pulled("gauge", "", "Workloads with a model in force."),
    "authz_bundle_load_failures": _Pulled("counter", "", "New bundles that were refused; the old one stayed."),
    "authz_policy_load_failures": _Pulled("counter", "", "New enforcement policies that were refused; the old one stayed."),
    "authz_log_dropped": _Pulled("counter", "", "Events not written to standard error because too many waited."),
}
"""What is read from other parts when somebody scrapes; counters get `_total` in the exposition, as Prometheus wants."""

_Key = tuple[Action, Basis, Mode, str, FindingCode | None]
"""What `reason` and `refused` depend on too, so that they need not be asked for each decision."""
_LABELS: Final = ("verdict", "mode", "workload", "reason", "refused")


class _Decisions:
    """How many decisions had these labels."""

    __slots__ = ("labels", "number")

    def __init__(self, labels: tuple[str, ...]) -> None:
        self.labels = labels
        self.number = 0


class _Counts:
    """What one thread counted: decisions by key, checks by bucket (the last: above all bounds), their seconds."""

    __slots__ = ("buckets", "decisions", "seconds")

    def __init__(self) -> None:
        self.decisions: dict[_Key, _Decisions] = {}
        self.buckets = [0] * (len(BUCKETS) + 1)
        self.seconds = 0.0


class _Local(threading.local):
    counts: _Counts


class Metrics:
    """All metrics of one server. `observe` and `error` may be called by any thread; neither locks, blocks or raises."""

    def __init__(self, known_workloads: Callable[[], Iterable[str]] = tuple) -> None:
        """`known_workloads`: the names that bundle and policy hold; they always get a label of their own."""
        self._known_workloads = known_workloads
        self._workload_labels: dict[str, str] = {}
        self._unknown_workloads = 0
        self._errors: dict[str, int] = {}
        self._errors_lock = threading.Lock()
        self._local = _Local()
        self._counts: list[_Counts] = []
        self._pulls: dict[str, Callable[[], Reading]] = {}
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Collected(self._collect))
        ProcessCollector(registry=self._registry)
        self.learn_workloads()

    def observe(self, verdict: Verdict, seconds: float | None) -> None:
        """Count one decision and its duration, None for one made afterwards. On the request path: about a microsecond."""
        try:
            counts = self._local.counts
        except AttributeError:
            counts = self._local.counts = _Counts()
            self._counts.append(counts)
        workload = self._workload_labels.get(verdict.workload) or self._new_workload(verdict.workload)
        reasons = verdict.reasons
        key = (verdict.action, verdict.basis, verdict.mode, workload, reasons[0].code if reasons else None)
        decisions = counts.decisions.get(key)
        if decisions is None:
            decisions = counts.decisions[key] = _Decisions(_labels(verdict, workload))
        decisions.number += 1
        if seconds is None:
            return
        counts.buckets[bisect_left(BUCKETS, seconds)] += 1
        counts.seconds += seconds

    def error(self, kind: str) -> None:
        """Count one failure to judge, by kind: the exception's name, or what else went wrong."""
        with self._errors_lock:
            if kind not in self._errors and len(self._errors) >= MAX_ERROR_KINDS:
                kind = OTHER
            self._errors[kind] = self._errors.get(kind, 0) + 1

    def pull(self, name: str, read: Callable[[], Reading]) -> None:
        """Read metric `name`, one of PULLED, with `read` whenever somebody scrapes; a reading by label is a mapping."""
        if name not in PULLED:
            raise KeyError(name)
        self._pulls[name] = read

    def learn_workloads(self) -> None:
        """Give the known workloads their labels; call when bundle or policy changed."""
        for name in self._known_workloads():
            self._workload_labels[name] = name

    def expose(self, accept: str = "") -> tuple[bytes, str]:
        """Render everything, as the scraper's Accept header wishes; return the text and its content type."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def _new_workload(self, name: str) -> str:
        if not name:
            return "unknown"
        if self._unknown_workloads >= MAX_UNKNOWN_WORKLOADS:
            return OTHER
        self._unknown_workloads += 1
        self._workload_labels[name] = name
        return name

    def _collect(self) -> Iterator[Metric]:
        counts = self._counts.copy()
        yield _decisions(counts)
        yield _durations(counts)
        errors = CounterMetricFamily("authz_errors", "Failures to judge, by kind.", labels=["kind"])
        with self._errors_lock:
            kinds = self._errors.copy()
        for kind, number in kinds.items():
            errors.add_metric([kind], number)
        yield errors
        for name, read in self._pulls.items():
            yield _pulled(name, read())


def _labels(verdict: Verdict, workload: str) -> tuple[str, ...]:
    refused = "true" if verdict.refused else "false"
    return verdict.action.value, verdict.mode.value, workload, verdict.reason, refused


def _decisions(counts: list[_Counts]) -> Metric:
    total: Counter[tuple[str, ...]] = Counter()
    for one in counts:
        for decisions in one.decisions.copy().values():
            total[decisions.labels] += decisions.number
    family = CounterMetricFamily("authz_decisions", "Decisions; refused: the call was stopped.", labels=_LABELS)
    for labels, number in total.items():
        family.add_metric(labels, number)
    return family


def _durations(counts: list[_Counts]) -> Metric:
    buckets = [sum(column) for column in zip(*[one.buckets for one in counts], strict=True)] or [0] * (len(BUCKETS) + 1)
    running = 0
    cumulated = []
    for bound, number in zip((*[str(b) for b in BUCKETS], "+Inf"), buckets, strict=True):
        running += number
        cumulated.append((bound, float(running)))
    family = HistogramMetricFamily("authz_check_duration_seconds", "Time from a Check's bytes to its answer's.")
    family.add_metric([], cumulated, sum_value=sum(one.seconds for one in counts))
    return family


def _pulled(name: str, reading: Reading) -> Metric:
    kind, label, text = PULLED[name]
    labels = [label] if label else []
    family = CounterMetricFamily(name, text, labels=labels) if kind == "counter" else GaugeMetricFamily(name, text, labels=labels)
    values = reading.items() if isinstance(reading, Mapping) else [("", reading)]
    for value, number in values:
        family.add_metric([value] if label else [], number)
    return family


class _Collected(Collector):
    """What prometheus-client asks for metrics."""

    def __init__(self, collect: Callable[[], Iterable[Metric]]) -> None:
        self._collect = collect

    def collect(self) -> Iterable[Metric]:
        """Compute all metrics of ours."""
        return self._collect()


def age(created: float) -> float:
    """Seconds since `created`, 0 where nothing was."""
    return max(0.0, time.time() - created) if created else 0.0
