"""Alerts and dashboard speak of metrics and labels that exist, in PromQL that parses."""

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from authz_server.engine.finding import FindingCode
from authz_server.engine.policy import Mode
from authz_server.engine.verdict import Action, Basis, Verdict
from authz_server.metrics import PULLED, Metrics
from tests.istio_manifests.manifests import MANIFESTS, build, named

promql = pytest.importorskip("promql_parser", reason="PromQL is parsed by promql-parser")

DASHBOARD = json.loads((MANIFESTS / "components" / "monitoring" / "dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
ALERTS = [
    alert for group in named(build("overlays/full"), "PrometheusRule", "meshwarden")["spec"]["groups"] for alert in group["rules"]
]

FOREIGN = {
    "up": {"job"},  # Prometheus
    "kube_deployment_status_replicas_unavailable": {"deployment"},  # kube-state-metrics
    "kube_deployment_status_replicas_available": {"deployment"},
    "istio_requests_total": {"reporter", "response_flags", "destination_workload", "destination_workload_namespace"},  # Istio
    # Envoy's `http.<prefix>;.ext_authz.*` as Istio's tag rules shape it (seen on Envoy 1.40, 2026-11).
    "envoy_http_ext_authz_error": set(),
    "envoy_http_ext_authz_failure_mode_allowed": set(),
}
"""Metrics of others, and those of their labels that are used."""
SCRAPED = {"job", "namespace", "pod", "service", "instance"}
"""Labels that a ServiceMonitor adds."""


def exposed() -> dict[str, set[str]]:
    """Every metric of a server, with its labels, as it exposes them."""
    metrics = Metrics()
    metrics.observe(Verdict(Action.ALLOW, Basis.JUDGED, Mode.DRY_RUN, "shop/cart", "1"), 0.0001)
    metrics.error("ValueError")
    for name, (_, label, _) in PULLED.items():
        metrics.pull(name, lambda label=label: {"a": 1.0} if label else 1.0)  # type: ignore[misc]  # a default is no annotation
    found: dict[str, set[str]] = {}
    for line in metrics.expose()[0].decode().splitlines():
        if not line.startswith("#"):
            name, _, labels = line.split(" ")[0].partition("{")
            found.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    return found


KNOWN = {**exposed(), **FOREIGN}


def filled(expression: str) -> str:
    """Put values where Grafana does."""
    return re.sub(r"\$__(rate_interval|range|interval)", "5m", expression).replace("$workload", ".*")


class Used(NamedTuple):
    """A metric that an expression selects, with matchers as (label, operation, value)."""

    name: str
    matchers: tuple[tuple[str, str, str], ...]


def walk(expression: Any) -> Iterator[Any]:
    """Every node of a parsed expression."""
    yield expression
    for name in ("expr", "lhs", "rhs", "param", "vector_selector"):
        inner = getattr(expression, name, None)
        if inner is not None:
            yield from walk(inner)
    for inner in getattr(expression, "args", ()):
        yield from walk(inner)


def used(expression: str) -> list[Used]:
    nodes = walk(promql.parse(filled(expression)))
    return [
        Used(node.name, tuple((one.name, str(one.op), one.value) for one in node.matchers.matchers))
        for node in nodes
        if isinstance(node, promql.VectorSelector)
    ]


EXPRESSIONS = [
    *[(alert["alert"], alert["expr"]) for alert in ALERTS],
    *[(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]],
]
each = pytest.mark.parametrize(
    ("title", "expression"), EXPRESSIONS, ids=[f"{i} {title}" for i, (title, _) in enumerate(EXPRESSIONS)]
)


@each
def test_an_expression_parses_and_every_metric_and_label_in_it_exists(title: str, expression: str) -> None:
    found = used(expression)

    assert found
    for one in found:
        assert one.name in KNOWN
        assert {label for label, _, _ in one.matchers} <= KNOWN[one.name] | SCRAPED
    grouped = {label for labels in re.findall(r"\bby \(([^)]*)\)", expression) for label in labels.replace(" ", "").split(",")}
    assert grouped <= SCRAPED | {"le"} | set().union(*[KNOWN[one.name] for one in found])


@each
def test_values_that_are_matched_are_values_that_a_label_has(title: str, expression: str) -> None:
    values = {
        "verdict": {action.value for action in Action},
        "refused": {"true", "false"},
        "mode": {mode.value for mode in Mode},
        "reason": {*[basis.value for basis in Basis], *[code.value for code in FindingCode]},
        "result": {"ok", "failed"},
    }
    for one in used(expression):
        for label, _, value in one.matchers:
            if one.name.startswith("authz_") and label in values:
                assert value in values[label]


@each
def test_a_counter_is_read_as_a_rate_and_a_gauge_as_it_is(title: str, expression: str) -> None:
    rates = [
        inner.vector_selector.name
        for node in walk(promql.parse(filled(expression)))
        if isinstance(node, promql.Call) and node.func.name in ("rate", "increase")
        for inner in node.args
    ]
    counters = [one.name for one in used(expression) if one.name.endswith(("_total", "_bucket")) or one.name.startswith("envoy_")]

    assert sorted(rates) == sorted(counters)


def test_alerts_say_what_to_do_and_how_bad_it_is() -> None:
    assert len({alert["alert"] for alert in ALERTS}) == len(ALERTS)
    for alert in ALERTS:
        assert set(alert["annotations"]) == {"summary", "description"}
        assert alert["labels"]["severity"] in ("critical", "warning")
        labels = set(re.findall(r"\$labels\.(\w+)", alert["annotations"]["summary"]))
        kept = {label for found in re.findall(r"\bby \(([^)]*)\)", alert["expr"]) for label in found.replace(" ", "").split(",")}
        assert labels <= kept


def test_alerts_know_the_job_as_the_service_monitor_names_it() -> None:
    objects = build("overlays/full")
    monitor = named(objects, "ServiceMonitor", "authz-server")["spec"]
    service = named(objects, "Service", "authz-server")

    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert service["metadata"]["labels"][monitor["jobLabel"]] == "authz-server"
    assert [endpoint["port"] for endpoint in monitor["endpoints"]] == ["http-admin"]
    assert "http-admin" in {port["name"] for port in service["spec"]["ports"]}


def test_the_dashboard_is_one_that_grafana_loads() -> None:
    assert DASHBOARD["schemaVersion"] >= 36
    assert "id" not in DASHBOARD  # Grafana gives it
    assert DASHBOARD["uid"] == "meshwarden"
    identifiers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(identifiers) == len(set(identifiers))
    assert {variable["name"] for variable in DASHBOARD["templating"]["list"]} == {"datasource", "workload"}
    for panel in PANELS:
        assert panel["description"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_panels_do_not_overlap_and_answer_five_questions() -> None:
    cells = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]

    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) == 23
    assert [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"] == [
        "Does it block what matters?",
        "Does it block my customers?",
        "Why?",
        "What does it cost?",
        "What breaks?",
    ]


def test_the_dashboard_is_delivered_as_it_is_reviewed() -> None:
    config = named(build("overlays/full"), "ConfigMap", "meshwarden-dashboard")

    assert json.loads(config["data"]["meshwarden.json"]) == DASHBOARD
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
