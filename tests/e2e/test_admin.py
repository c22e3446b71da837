"""The admin address of a server that works behind a real Envoy."""

import pytest

from authz_server.engine.observe import Observer
from tests.e2e.parts import HASH_KEY, SHOP, AuthzServer, Proxy, eventually
from tests.e2e.traffic import ODD, browse

METRICS = {
    "authz_decisions_total",
    "authz_check_duration_seconds_bucket",
    "authz_check_duration_seconds_count",
    "authz_check_duration_seconds_sum",
    "authz_recorder_queue_depth",
    "authz_recorder_dropped_total",
    "authz_recorder_written_total",
    "authz_decision_log_lines_total",
    "authz_decision_log_dropped_total",
    "authz_outcomes_received_total",
    "authz_outcomes_joined_total",
    "authz_bundle_info",
    "authz_bundle_age_seconds",
    "authz_bundle_workloads",
    "authz_bundle_load_failures_total",
    "authz_policy_load_failures_total",
    "authz_log_dropped_total",
    "process_resident_memory_bytes",
}


def test_it_is_alive_and_ready(enforcing: AuthzServer) -> None:
    assert (enforcing.get("/healthz").status, enforcing.get("/healthz").body) == (200, b"ok\n")
    assert (enforcing.get("/readyz").status, enforcing.get("/readyz").json) == (200, {"ready": True, "reasons": []})


def test_decisions_are_shown_newest_first_and_denies_by_themselves(enforcing: AuthzServer, proxy: Proxy) -> None:
    refused, allowed = proxy.take(ODD), proxy.take(browse())
    newest, before = enforcing.get("/decisions?n=2").json
    assert (newest["request_id"], newest["verdict"]) == (allowed.request_id, "allow")
    assert (before["decision_id"], before["verdict"]) == (refused.decision_id, "deny")
    assert "`debug`" in before["findings"][0]["text"]
    denied = enforcing.get("/decisions?verdict=deny&n=1").json
    assert [line["decision_id"] for line in denied] == [refused.decision_id]


def test_config_shows_settings_policy_and_bundle_without_secrets(enforcing: AuthzServer) -> None:
    reply = enforcing.get("/config")
    config = reply.json
    assert (config["settings"]["listen"], config["settings"]["hash_key"]) == (enforcing.listen, "***")
    assert HASH_KEY.encode() not in reply.body
    assert config["key_id"] == config["bundle"]["key_id"] == Observer(HASH_KEY).key_id
    assert (config["policy"]["defaults"]["mode"], config["policy_problem"], config["bundle_problem"]) == ("enforce", "", "")
    assert SHOP in config["bundle"]["workloads"]


def test_metrics_have_their_names_and_move_with_the_calls(enforcing: AuthzServer, proxy: Proxy) -> None:
    before = enforcing.metric("authz_decisions_total", verdict="deny", mode="enforce", workload=SHOP, reason="unknown_parameter")
    checks = enforcing.metric("authz_check_duration_seconds_count")
    proxy.take(ODD)
    after = enforcing.metric("authz_decisions_total", verdict="deny", mode="enforce", workload=SHOP, reason="unknown_parameter")
    assert (after - before, enforcing.metric("authz_check_duration_seconds_count") - checks) == (1, 1)
    told = enforcing.get("/metrics").body.decode()
    names = {line.partition("{")[0].partition(" ")[0] for line in told.splitlines() if not line.startswith("#")}
    assert METRICS - names == set()


def test_what_is_recorded_and_how_it_ended_is_counted(enforcing: AuthzServer, proxy: Proxy) -> None:
    written, joined = enforcing.metric("authz_recorder_written_total"), enforcing.metric("authz_outcomes_joined_total")
    proxy.take(browse())
    eventually(lambda: enforcing.metric("authz_outcomes_joined_total") > joined)
    eventually(lambda: enforcing.metric("authz_recorder_written_total") >= written + 2)
    assert enforcing.metric("authz_recorder_dropped_total") == 0


@pytest.mark.parametrize("path", ["/decisions", "/config", "/metrics"])
def test_no_clear_value_of_a_call_is_shown(path: str, enforcing: AuthzServer, proxy: Proxy) -> None:
    proxy.call("POST", "/cart?coupon=Zanzibar77", {"item": 1007, "count": 2, "note": "Zanzibar77"}, {"x-note": "Zanzibar77"})
    assert b"zanzibar" not in enforcing.get(path).body.lower()


def test_no_clear_value_of_a_call_is_written(enforcing: AuthzServer, proxy: Proxy) -> None:
    reply = proxy.call("POST", "/cart?coupon=Zanzibar77", {"item": 1007, "note": "Zanzibar77"}, {"x-note": "Zanzibar77"})
    enforcing.recorded(reply.decision_id)
    enforcing.decision(reply.decision_id)
    written = [path for path in enforcing.directory.rglob("*") if path.is_file()]
    assert len(written) >= 4
    assert [path for path in written if b"zanzibar" in path.read_bytes().lower()] == []
