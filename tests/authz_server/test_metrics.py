import threading
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from authz_server.engine.finding import FindingCode
from authz_server.engine.policy import Mode
from authz_server.engine.verdict import Basis
from authz_server.metrics import BUCKETS, MAX_ERROR_KINDS, MAX_UNKNOWN_WORKLOADS, OTHER, PULLED, Metrics, age
from tests.factories_shell import deny, finding, verdict

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scraped(metrics: Metrics) -> Samples:
    text = metrics.expose()[0].decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return scraped(metrics).get((name, tuple(sorted(labels.items()))))


def decisions(metrics: Metrics) -> dict[tuple[str, ...], float]:
    names = ("verdict", "mode", "workload", "reason", "refused")
    return {
        tuple(dict(labels)[label] for label in names): number
        for (name, labels), number in scraped(metrics).items()
        if name == "authz_decisions_total"
    }


def test_decisions_are_counted_by_their_labels() -> None:
    metrics = Metrics()
    for _ in range(3):
        metrics.observe(verdict(), 1e-4)
    metrics.observe(deny(), 1e-4)
    metrics.observe(deny(mode=Mode.DRY_RUN, reasons=(finding(code=FindingCode.PRECEDENCE), finding())), 1e-4)
    metrics.observe(deny(basis=Basis.NOT_HTTP, reasons=()), 1e-4)

    assert {
        ("allow", "enforce", "shop/cart", "judged", "false"): 3,
        ("deny", "enforce", "shop/cart", "range", "true"): 1,
        ("deny", "dry_run", "shop/cart", "precedence", "false"): 1,
        ("deny", "enforce", "shop/cart", "not_http", "true"): 1,
    } == decisions(metrics)


def test_durations_fall_into_buckets() -> None:
    metrics = Metrics()
    for seconds in (1e-6, 5e-5, 1.2e-4, 0.01, 0.2501, 3.0):
        metrics.observe(verdict(), seconds)

    counts = {bound: value(metrics, "authz_check_duration_seconds_bucket", le=bound) for bound in map(str, BUCKETS)}

    assert (2, 2, 3, 4, 4) == tuple(counts[bound] for bound in ("5e-05", "0.0001", "0.00015", "0.01", "0.25"))
    assert 6 == value(metrics, "authz_check_duration_seconds_bucket", le="+Inf")
    assert 6 == value(metrics, "authz_check_duration_seconds_count")
    assert pytest.approx(3.260271) == value(metrics, "authz_check_duration_seconds_sum")


def test_before_the_first_decision_everything_is_zero() -> None:
    assert 0 == value(Metrics(), "authz_check_duration_seconds_count")


def test_workloads_that_nobody_knows_are_bounded_and_known_ones_are_not() -> None:
    known = [f"known-{i}" for i in range(100)]
    metrics = Metrics(lambda: known)
    for i in range(MAX_UNKNOWN_WORKLOADS + 20):
        metrics.observe(verdict(workload=f"host-{i}"), 1e-4)
    for name in known:
        metrics.observe(verdict(workload=name), 1e-4)
    metrics.observe(verdict(workload=""), 1e-4)

    by_workload = {labels[2]: number for labels, number in decisions(metrics).items()}

    assert 20 == by_workload.pop(OTHER)
    assert 1 == by_workload.pop("unknown")
    assert {*known, *[f"host-{i}" for i in range(MAX_UNKNOWN_WORKLOADS)]} == set(by_workload)


def test_workloads_learned_later_get_their_label() -> None:
    known: list[str] = []
    metrics = Metrics(lambda: known)
    for i in range(MAX_UNKNOWN_WORKLOADS):
        metrics.observe(verdict(workload=f"host-{i}"), 1e-4)
    known.append("shop/late")
    metrics.learn_workloads()

    metrics.observe(verdict(workload="shop/late"), 1e-4)

    assert 1 == decisions(metrics)["allow", "enforce", "shop/late", "judged", "false"]


def test_errors_are_counted_by_a_bounded_kind() -> None:
    metrics = Metrics()
    for i in range(MAX_ERROR_KINDS + 5):
        metrics.error(f"Kind{i}")
    metrics.error("Kind0")

    assert (2, 5) == (value(metrics, "authz_errors_total", kind="Kind0"), value(metrics, "authz_errors_total", kind=OTHER))


def test_all_threads_are_counted_exactly() -> None:
    metrics = Metrics()
    stop = threading.Event()

    def scrape() -> None:
        while not stop.is_set():
            metrics.expose()

    def observe() -> None:
        for i in range(3000):
            metrics.observe(verdict(workload=f"w-{i % 7}"), 1e-4)
            if i % 100 == 0:
                metrics.error("Kind")

    scraper = threading.Thread(target=scrape)
    threads = [threading.Thread(target=observe) for _ in range(4)]
    for thread in (scraper, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    scraper.join()

    assert 12_000 == sum(decisions(metrics).values()) == value(metrics, "authz_check_duration_seconds_count")
    assert 120 == value(metrics, "authz_errors_total", kind="Kind")


@pytest.mark.parametrize("name", PULLED)
def test_every_pulled_metric_is_read_at_the_scrape(name: str) -> None:
    metrics = Metrics()
    label = PULLED[name].label
    exposed = name + ("_total" if PULLED[name].kind == "counter" else "")
    assert value(metrics, exposed) is None
    metrics.pull(name, lambda: {"x": 7.0, "y": 8.0} if label else 7.0)

    assert 7.0 == value(metrics, exposed, **({label: "x"} if label else {}))


def test_a_metric_that_is_not_listed_is_our_mistake() -> None:
    with pytest.raises(KeyError):
        Metrics().pull("authz_surprise", lambda: 1.0)


def test_the_process_is_measured() -> None:
    resident = value(Metrics(), "process_resident_memory_bytes")

    assert resident is not None
    assert resident > 2**20


def test_openmetrics_is_given_to_who_asks_for_it() -> None:
    body, content_type = Metrics().expose("application/openmetrics-text; version=1.0.0")

    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


def test_age_counts_from_creation_and_is_none_without() -> None:
    assert 0.0 == age(0.0)
    assert 0.0 == age(time.time() + 100)
    assert 50 < age(time.time() - 60) < 70
