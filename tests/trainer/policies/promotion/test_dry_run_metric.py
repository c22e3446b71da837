"""Envoy's shadow counters: as Istio tags them, as Envoy names them, and as Prometheus answers."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from authz_server.engine.errors import FormatError, SettingError
from tests.trainer.policies.cluster.pushed import policy
from trainer.policies.policy import from_object
from trainer.policies.promotion.dry_run_metric import ask_prometheus, read_metrics, to_queries
from trainer.policies.promotion.gate import DryRun

TAGGED = (
    'envoy_http_inbound_0_0_0_0_{port}_rbac{{authz_dry_run_action="{action}",authz_dry_run_result="{result}",app="x"}} {value}\n'
)


def tagged(action: str, result: str, value: int, port: int = 80) -> str:
    return TAGGED.format(action=action, result=result, value=value, port=port)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", DryRun(0, 0), id="nothing"),
        pytest.param(tagged("allow", "allowed", 20) + tagged("allow", "denied", 3, 81), DryRun(20, 3), id="Istio's tags"),
        pytest.param(tagged("deny", "denied", 3), DryRun(0, 0), id="of another action"),
        pytest.param(
            'envoy_http_inbound_0_0_0_0_80_rbac{authz_enforce_result="denied"} 7\n', DryRun(0, 0), id="what was enforced"
        ),
        pytest.param(
            'envoy_http_rbac_istio_dry_run_allow__shadow_denied{envoy_http_conn_manager_prefix="x"} 2\n', DryRun(0, 2), id="Envoy"
        ),
        pytest.param("envoy_http_x_rbac_istio_dry_run_allow_shadow_allowed 5\n", DryRun(5, 0), id="Envoy, joined otherwise"),
        pytest.param("envoy_cluster_rbac_shadow_denied 2\n", DryRun(0, 0), id="something else"),
    ],
)
def test_counters_are_read_however_they_are_named(text: str, expected: DryRun) -> None:
    assert expected == read_metrics(text, "ALLOW")


def test_a_file_of_something_else_is_refused() -> None:
    with pytest.raises(FormatError, match="metrics: expected Prometheus' text format"):
        read_metrics("envoy_http_rbac{ 1", "ALLOW")


def test_what_is_asked_names_the_pods_that_the_policy_selects() -> None:
    one = policy()
    one["spec"]["selector"] = {"matchLabels": {"app.kubernetes.io/name": 'c"art'}}
    grown, new = to_queries(from_object(one), 7)
    chosen = '{__name__=~"envoy_http_.*rbac",namespace="shop",app_kubernetes_io_name="c\\"art",authz_dry_run_action="allow"}'
    assert f"sum by (authz_dry_run_result) (increase({chosen}[7d]))" == grown
    assert f"sum by (authz_dry_run_result) (last_over_time({chosen}[7d]) unless last_over_time({chosen}[7d] offset 7d))" == new


@contextmanager
def prometheus(answer: Any) -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)["query"][0]
            asked.append(query)
            data = json.dumps(answer(query)).encode() if callable(answer) else answer
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: object) -> None:
            del args

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()


def vector(**values: str) -> dict[str, Any]:
    result = [{"metric": {"authz_dry_run_result": name}, "value": [1.0, value]} for name, value in values.items()]
    return {"status": "success", "data": {"resultType": "vector", "result": result}}


def test_prometheus_is_asked_for_growth_and_for_what_is_new() -> None:
    one = from_object(policy())
    with prometheus(
        lambda query: vector(allowed="12.5", denied="0") if "increase" in query else vector(allowed="3", denied="1")
    ) as (
        url,
        asked,
    ):
        assert DryRun(12.5, 1.0) == ask_prometheus(url, one, 7)
    assert list(to_queries(one, 7)) == asked


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        pytest.param(lambda _: {"status": "error", "error": "bad label"}, "got 'bad label'", id="a refusal"),
        pytest.param(b"<html>", "expected Prometheus' answer", id="not Prometheus"),
        pytest.param(lambda _: [], "expected Prometheus' answer", id="another shape"),
    ],
)
def test_another_answer_is_named(answer: Any, said: str) -> None:
    with prometheus(answer) as (url, _), pytest.raises(FormatError, match=said):
        ask_prometheus(url, from_object(policy()), 7)


def test_a_prometheus_that_is_not_there_is_named() -> None:
    with prometheus(b"") as (url, _):
        pass
    with pytest.raises(SettingError, match="prometheus: expected an answer from http://127"):
        ask_prometheus(url, from_object(policy()), 7)
