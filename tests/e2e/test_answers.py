"""What a client behind a real Envoy gets, and what is told about it."""

import json
import random
import re
import uuid
from collections.abc import Callable
from typing import Final

import grpc
import pytest
from google.rpc.code_pb2 import PERMISSION_DENIED

from authz_server.engine.call import BodyKind
from tests.e2e.echo import DECLINED, GRPC_METHOD, GRPC_SERVICE
from tests.e2e.parts import COOKIE, MAX_REQUEST_BYTES, SHOP, AuthzServer, Proxy, channel, check_request
from tests.e2e.traffic import ODD, Step, add, browse, new_session, pay, ship, visit

DECISION_ID: Final = re.compile(r"[0-9a-f]{32}\Z")
PADDING: Final = "x" * (MAX_REQUEST_BYTES + 100)
ABNORMAL: Final = {
    "negative-count": (add(-7), "range"),
    "huge-count": (add(1_000_000), "range"),
    "count-is-text": (Step("POST", "/cart", {"item": 1007, "count": "two"}), "type"),
    "unknown-field": (Step("POST", "/cart", {"item": 1007, "count": 2, "price": 0}), "unknown_parameter"),
    "unknown-parameter": (ODD, "unknown_parameter"),
    "sql-injection": (Step("GET", "/items/1007?color=red'%20OR%201=1--"), None),
    "unknown-endpoint": (Step("GET", "/admin/backup"), "unknown_endpoint"),
    "unusual-method": (Step("PROPFIND", "/cart"), "unknown_method"),
}


def test_a_normal_call_is_allowed_and_passes_unchanged(enforcing: AuthzServer, proxy: Proxy) -> None:
    step = add(3)
    reply = proxy.take(step)
    assert (reply.status, reply.json["method"], reply.json["path"]) == (200, "POST", "/cart")
    assert (json.loads(reply.json["body"]), reply.decision_id) == (step.body, "")


@pytest.mark.parametrize(("step", "reason"), ABNORMAL.values(), ids=ABNORMAL.keys())
def test_an_abnormal_call_is_refused(step: Step, reason: str | None, enforcing: AuthzServer, proxy: Proxy) -> None:
    reply = proxy.take(step)
    assert reply.status == 403
    decision = enforcing.decision(reply.decision_id)
    assert (decision["verdict"], decision["mode"], decision["refused"]) == ("deny", "enforce", True)
    assert reason is None or decision["findings"][0]["code"] == reason


def test_a_refusal_is_problem_details_with_the_decision_id_and_nothing_an_attacker_can_use(
    enforcing: AuthzServer, proxy: Proxy
) -> None:
    reply = proxy.take(add(-7))
    assert DECISION_ID.match(reply.decision_id)
    assert (reply.status, reply.headers["content-type"]) == (403, "application/problem+json")
    expected = {
        "type": "about:blank",
        "title": "Forbidden",
        "status": 403,
        "detail": "The request was refused.",
        "instance": f"urn:uuid:{uuid.UUID(reply.decision_id)}",
        "decision_id": reply.decision_id,
    }
    assert reply.json == expected
    told = (str(reply.headers) + reply.body.decode()).lower()
    decision = enforcing.decision(reply.decision_id)
    secrets = [decision["revision"], decision["findings"][0]["text"], "count", "cart", "range", "p_value", "enforce", "shop"]
    assert [secret for secret in secrets if secret in told] == []


def test_the_decision_id_is_the_same_in_the_answer_the_decision_log_and_envoys_access_log(
    enforcing: AuthzServer, proxy: Proxy
) -> None:
    reply = proxy.take(ODD)
    line, decision = proxy.logged(reply.request_id), enforcing.decision(reply.decision_id)
    assert line["decision_id"] == decision["decision_id"] == reply.decision_id
    assert decision["request_id"] == reply.request_id
    assert (line["verdict"], line["mode"], line["endpoint"]) == ("deny", "enforce", "GET /items/{*}")
    assert (line["revision"], line["reason"]) == (decision["revision"], decision["findings"][0]["code"])
    assert float(line["p_value"]) == pytest.approx(decision["p_value"], rel=1e-4)


def test_an_allowed_call_has_its_decision_id_in_envoys_access_log(enforcing: AuthzServer, proxy: Proxy) -> None:
    reply = proxy.take(browse())
    line = proxy.logged(reply.request_id)
    assert (line["verdict"], line["status"]) == ("allow", 200)
    assert enforcing.decision(line["decision_id"])["request_id"] == reply.request_id


def test_dry_run_refuses_nothing_and_tells_what_it_would_have_refused(
    make_server: Callable[..., AuthzServer], make_proxy: Callable[..., Proxy]
) -> None:
    server = make_server("dry_run")
    proxy = make_proxy(server.listen)
    reply = proxy.take(ODD)
    assert (reply.status, reply.json["path"], reply.decision_id) == (200, ODD.path, "")

    line = proxy.logged(reply.request_id)
    assert (line["verdict"], line["mode"], line["reason"], line["status"]) == ("deny", "dry_run", "unknown_parameter", 200)
    decision = server.decision(line["decision_id"])
    assert (decision["verdict"], decision["mode"], decision["refused"]) == ("deny", "dry_run", False)
    assert "debug" in decision["findings"][0]["text"]
    assert server.metric("authz_decisions_total", verdict="deny", mode="dry_run", refused="false", workload=SHOP) == 1
    assert server.metric("authz_decisions_total", refused="true") == 0


def test_off_judges_nothing(make_server: Callable[..., AuthzServer], make_proxy: Callable[..., Proxy]) -> None:
    server = make_server("off")
    proxy = make_proxy(server.listen)
    reply = proxy.take(ODD)
    line = proxy.logged(reply.request_id)
    assert (reply.status, line["verdict"], line["mode"], line["reason"], line["p_value"]) == (200, "allow", "off", "off", 1)
    assert server.decision(line["decision_id"])["findings"] == []


def test_later_normal_visits_pass(enforcing: AuthzServer, proxy: Proxy) -> None:
    """The budget is 1 in 100; what was learned from is small."""
    statuses = []
    for seed in range(10_000, 10_020):
        with proxy.client() as client:
            statuses += [client.take(step).status for step in visit(random.Random(seed))]
    assert set(statuses) <= {200, 403}
    assert statuses.count(403) <= 0.03 * len(statuses)


def test_an_endpoint_has_a_mode_of_its_own(make_server: Callable[..., AuthzServer]) -> None:
    server = make_server("enforce", workloads={SHOP: {"endpoints": {"POST /cart": {"mode": "dry_run"}}}})
    with server.stub() as stub:
        cart = stub.Check(check_request("POST", "/cart", body=b'{"item": 1007, "count": -7}'), timeout=5)
        item = stub.Check(check_request(ODD.method, ODD.path), timeout=5)
    assert (cart.status.code, cart.dynamic_metadata["verdict"], cart.dynamic_metadata["mode"]) == (0, "deny", "dry_run")
    assert (item.status.code, item.dynamic_metadata["mode"]) == (PERMISSION_DENIED, "enforce")


def test_a_body_that_envoy_cut_off_is_unknown_and_the_rest_is_judged(enforcing: AuthzServer, proxy: Proxy) -> None:
    whole = proxy.call("POST", "/cart", {"item": 1007, "count": -7})
    cut = proxy.call("POST", "/cart", {"item": 1007, "count": -7, "padding": PADDING})
    odd = proxy.call("POST", "/cart?debug=true", {"item": 1007, "count": 2, "padding": PADDING})
    assert [whole.status, cut.status, odd.status] == [403, 200, 403]
    assert json.loads(cut.json["body"])["padding"] == PADDING
    findings = enforcing.decision(odd.decision_id)["findings"]
    assert [finding["code"] for finding in findings] == ["unknown_parameter"]


def test_a_body_that_envoy_sends_as_text_is_judged_too(
    enforcing: AuthzServer, make_proxy: Callable[..., Proxy], authz_address: str
) -> None:
    proxy = make_proxy(authz_address, pack_as_bytes=False)
    assert [proxy.take(add(count)).status for count in (2, -7)] == [200, 403]


def test_a_body_that_envoy_cut_off_is_recorded_as_cut_off(enforcing: AuthzServer, proxy: Proxy) -> None:
    reply = proxy.call("POST", "/cart", {"item": 1007, "count": 2, "padding": PADDING})
    record = enforcing.recorded(proxy.logged(reply.request_id)["decision_id"])
    assert record.body is BodyKind.TRUNCATED
    assert record.body_size > len(PADDING)
    assert not [parameter for parameter in record.parameters if parameter.key.startswith("body:")]


def test_a_body_too_large_to_be_sent_whole_is_answered_413_before_we_are_asked(
    enforcing: AuthzServer, make_proxy: Callable[..., Proxy], authz_address: str
) -> None:
    proxy = make_proxy(authz_address, allow_partial_message=False)
    reply = proxy.call("POST", "/cart", {"item": 1007, "count": 2, "padding": PADDING})
    assert (reply.status, proxy.logged(reply.request_id)["decision_id"]) == (413, None)
    assert proxy.take(add()).status == 200
    assert (proxy.stat("ok"), proxy.stat("denied"), proxy.stat("error")) == (1, 0, 0)


def test_a_grpc_call_is_allowed(enforcing: AuthzServer, grpc_proxy: Proxy) -> None:
    metadata = [("cookie", f"{COOKIE}={new_session()}"), ("x-request-id", str(uuid.uuid4()))]
    with channel(grpc_proxy.address) as opened:
        say = opened.unary_unary(f"/{GRPC_SERVICE}/{GRPC_METHOD}")
        assert say(b"hello 7", metadata=metadata, timeout=5) == b"hello 7"
    line = grpc_proxy.logged(metadata[1][1])
    assert (line["verdict"], line["endpoint"]) == ("allow", f"POST /{GRPC_SERVICE}/{GRPC_METHOD}")


def test_a_grpc_caller_sees_a_refusal_as_permission_denied(enforcing: AuthzServer, grpc_proxy: Proxy) -> None:
    with channel(grpc_proxy.address) as opened:
        delete = opened.unary_unary(f"/{GRPC_SERVICE}/Delete")
        with pytest.raises(grpc.RpcError) as error:
            delete(b"hello 7", metadata=[("cookie", f"{COOKIE}={new_session()}")], timeout=5)
    assert error.value.code() is grpc.StatusCode.PERMISSION_DENIED
    headers = dict([*error.value.initial_metadata(), *error.value.trailing_metadata()])
    assert enforcing.decision(headers["x-authz-decision-id"])["refused"]


def test_headers_sent_raw_are_read_like_others(
    enforcing: AuthzServer, make_proxy: Callable[..., Proxy], authz_address: str
) -> None:
    proxy = make_proxy(authz_address, encode_raw_headers=True)
    with proxy.client() as client:
        assert client.take(add(3)).status == 200
        replies = [client.take(add(-7)), client.take(ship())]
    assert [reply.status for reply in replies] == [403, 403]
    decisions = [enforcing.decision(reply.decision_id) for reply in replies]
    assert decisions[0]["session"] == decisions[1]["session"] != ""
    assert [decision["request_id"] for decision in decisions] == [reply.request_id for reply in replies]
    assert [decision["findings"][0]["code"] for decision in decisions] == ["range", "precedence"]


def test_a_call_out_of_its_order_is_refused(enforcing: AuthzServer, proxy: Proxy) -> None:
    with proxy.client() as client:
        assert [client.take(step).status for step in (add(), ship(), pay(), ship())] == [200, 403, 200, 200]


def test_a_step_that_failed_does_not_count(enforcing: AuthzServer, proxy: Proxy) -> None:
    with proxy.client() as client:
        assert [client.take(step).status for step in (browse(), add())] == [200, 200]
        declined = client.take(pay(DECLINED))
        assert declined.status == 402
        record = enforcing.recorded(proxy.logged(declined.request_id)["decision_id"])
        assert (record.status, record.endpoint, record.verdict) == (402, "POST /pay", "allow")
        assert [client.take(step).status for step in (ship(), pay(), ship())] == [403, 200, 200]


@pytest.mark.parametrize(
    ("mode", "allow", "code"),
    [("enforce", True, 0), ("enforce", False, PERMISSION_DENIED), ("dry_run", False, 0)],
)
def test_a_check_without_http_is_answered_by_policy(
    mode: str, allow: bool, code: int, make_server: Callable[..., AuthzServer]
) -> None:
    server = make_server(mode, non_http_allow=allow)
    request = check_request()
    request.attributes.ClearField("request")
    with server.stub() as stub:
        answer = stub.Check(request, timeout=5)
    assert (answer.status.code, answer.dynamic_metadata["reason"]) == (code, "not_http")
    assert server.decision(answer.dynamic_metadata["decision_id"])["basis"] == "not_http"
