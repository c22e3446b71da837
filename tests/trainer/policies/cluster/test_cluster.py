"""How an API server is found, and what its refusals are made of."""

import base64
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import MaxRetryError, NewConnectionError, ProtocolError, ReadTimeoutError, SSLError

from authz_server.engine.errors import SettingError
from tests.trainer.policies.cluster.api_server import ApiServer
from tests.trainer.policies.cluster.pushed import Pusher, policy
from trainer.policies.cluster import cluster as module
from trainer.policies.cluster.cluster import CONFIG_MAPS, POLICIES, Cluster, Identity, connect
from trainer.policies.cluster.refusal import Reason, Refusal, to_refusal

NOWHERE: Any = None
HOST = "https://cluster.example:6443"


def test_a_context_names_user_and_host(api: ApiServer, tmp_path: Path) -> None:
    found = connect("other", api.kubeconfig(tmp_path)).identity
    assert Identity("ann", f"http://127.0.0.1:{api.port}", "other") == found


def test_the_current_context_is_taken_where_none_is_named(api: ApiServer, tmp_path: Path) -> None:
    assert "test" == connect(None, api.kubeconfig(tmp_path)).identity.context


@pytest.mark.parametrize(
    ("context", "text", "said"),
    [
        ("nowhere", None, "context: expected one of other, test, got 'nowhere'"),
        ("test", "a: [", "kubeconfig: expected one that can be read"),
        ("test", "{}", "kubeconfig: expected one that can be read"),
        (None, "missing", "kubeconfig: expected one that can be read"),
    ],
)
def test_a_wrong_context_or_file_is_named(
    api: ApiServer, tmp_path: Path, context: str | None, text: str | None, said: str
) -> None:
    path = api.kubeconfig(tmp_path)
    if text == "missing":
        path = tmp_path / "missing"
    elif text is not None:
        path.write_text(text)
    with pytest.raises(SettingError, match=said) as caught:
        connect(context, path)
    assert text is None or str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_outside_a_pod_and_without_a_kubeconfig_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(SettingError, match="expected a kubeconfig, or to run in a pod"):
        connect(None, None)


def test_in_a_pod_the_service_account_is_who_asks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    payload = base64.urlsafe_b64encode(json.dumps({"sub": "system:serviceaccount:mesh:trainer"}).encode()).decode().rstrip("=")
    (tmp_path / "token").write_text(f"h.{payload}.s")
    (tmp_path / "ca.crt").write_text("-")
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    monkeypatch.setattr("kubernetes.config.incluster_config.SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr("kubernetes.config.incluster_config.SERVICE_CERT_FILENAME", str(tmp_path / "ca.crt"))
    monkeypatch.setattr(module, "_TOKEN", tmp_path / "token")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    monkeypatch.setattr(module, "_client", _NoTls)
    found = connect(None, None).identity
    assert Identity("system:serviceaccount:mesh:trainer", "https://10.0.0.1:443", "in-cluster") == found


class _NoTls:
    """The package, but for a client that reads the certificate at once."""

    Configuration = module._client.Configuration

    @staticmethod
    def ApiClient(settings: Any) -> Any:  # noqa: N802
        settings.ssl_ca_cert = None
        return _REAL_CLIENT(settings)


_REAL_CLIENT = module._client.ApiClient


def test_no_cache_of_discovery_is_left_where_others_can_write(
    api: ApiServer, pusher: Pusher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "shared"))
    (tmp_path / "shared").mkdir()
    pusher.push(policy())
    assert [] == list((tmp_path / "shared").iterdir())
    assert {"authorizationpolicies", "configmaps", "events"} == {one["plural"] for one in api.asked}


def test_long_lists_are_read_page_by_page(api: ApiServer, pusher: Pusher, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        api.put(policy(f"p{number}"))
    monkeypatch.setattr(module, "_PAGE", 2)
    assert [f"p{number}" for number in range(5)] == [one["metadata"]["name"] for one in pusher.cluster.listed(POLICIES, "shop")]
    assert 3 == len(api.asked)


def test_an_endless_list_ends(api: ApiServer, pusher: Pusher, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        api.put(policy(f"p{number}"))
    monkeypatch.setattr(module, "_PAGE", 1)
    monkeypatch.setattr(module, "_MOST_PAGES", 3)
    with pytest.raises(Refusal, match="expected at most 3 objects, found more: name a namespace"):
        pusher.cluster.listed(POLICIES, "shop")


def test_a_server_that_does_not_answer_is_given_up(api: ApiServer, pusher: Pusher) -> None:
    api.when(lambda _: True, "slow", times=9)
    with pytest.raises(Refusal) as caught:
        pusher.cluster.get(CONFIG_MAPS, "shop", "x")
    assert Reason.TIMEOUT is caught.value.reason
    assert 1 == len(api.asked)


def test_the_wait_that_a_busy_server_asks_for_is_bounded(api: ApiServer, pusher: Pusher, monkeypatch: pytest.MonkeyPatch) -> None:
    api.when(lambda _: True, "429", times=2)
    pusher.cluster.get(CONFIG_MAPS, "shop", "x")
    assert [1.0, 1.0] == pusher.waited
    monkeypatch.setattr(module, "retry_after", lambda _: 9999.0)
    api.when(lambda _: True, "429")
    pusher.cluster.get(CONFIG_MAPS, "shop", "x")
    assert 5.0 == pusher.waited[-1]


def answer(code: int, message: str = "", reason: str = "", details: dict[str, Any] | None = None) -> ApiException:
    error = ApiException(status=code, reason="R")
    body = {"kind": "Status", "message": message, "reason": reason, "details": details or {}}
    error.body = json.dumps(body) if message else "404 page not found\n"
    return error


CAUSES = {
    "causes": [
        {
            "reason": "FieldManagerConflict",
            "message": 'conflict with "kubectl" using security.istio.io/v1',
            "field": ".spec.rules",
        },
        {"reason": "FieldManagerConflict", "message": 'conflict with "argo" using security.istio.io/v1', "field": ".spec.action"},
    ]
}


@pytest.mark.parametrize(
    ("error", "reason", "said"),
    [
        (answer(409, "Apply failed", "Conflict", CAUSES), Reason.CONFLICT, "argo owns .spec.action, kubectl owns .spec.rules"),
        (answer(409, "the object has been modified", "Conflict"), Reason.STALE, "someone changed it meanwhile"),
        (answer(409, "x already exists", "AlreadyExists"), Reason.EXISTS, "someone else made it meanwhile"),
        (
            answer(404, 'namespaces "x" not found', "NotFound", {"kind": "namespaces", "name": "x"}),
            Reason.NO_NAMESPACE,
            "no namespace x",
        ),
        (answer(404), Reason.NO_KIND, "install Istio's CRDs"),
        (answer(404, "the server could not find the requested resource", "NotFound"), Reason.NO_KIND, "install Istio's CRDs"),
        (answer(404, 'x "a" not found', "NotFound", {"kind": "x", "name": "a"}), Reason.NOT_FOUND, "not found"),
        (
            answer(403, 'x is forbidden: User "u" cannot patch resource "configmaps" in API group "" in the namespace "s"'),
            Reason.FORBIDDEN,
            "grant verb patch on configmaps (a new",
        ),
        (answer(403, "exceeded quota: q"), Reason.FORBIDDEN, "forbidden: exceeded quota"),
        (answer(401, "Unauthorized"), Reason.UNAUTHORIZED, "log in again"),
        (answer(400, 'admission webhook "v.istio.io" denied the request: bad'), Reason.INVALID, "denied the request: bad"),
        (answer(422, "spec.action: Unsupported value"), Reason.INVALID, "spec.action: Unsupported value"),
        (
            answer(500, "failed to create typed patch object (s/n): .spec.x: field not declared in schema"),
            Reason.UNKNOWN_FIELD,
            ".spec.x",
        ),
        (answer(500, 'failed calling webhook "v.istio.io": no endpoints'), Reason.FAILED, "is istiod up?"),
        (answer(503, "later"), Reason.BUSY, "push again later"),
        (answer(418, "tea"), Reason.FAILED, "answered 418: tea"),
        (
            MaxRetryError(NOWHERE, "/", NewConnectionError(NOWHERE, "Connection refused")),
            Reason.UNREACHABLE,
            f"no connection to {HOST}",
        ),
        (MaxRetryError(NOWHERE, "/", SSLError("self-signed")), Reason.UNTRUSTED, "check the kubeconfig's CA"),
        (MaxRetryError(NOWHERE, "/", ReadTimeoutError(NOWHERE, "/", "slow")), Reason.TIMEOUT, "didn't answer in time"),
        (ProtocolError("Connection aborted."), Reason.BROKEN, "broke off"),
        (ConnectionResetError(104, "reset"), Reason.BROKEN, "broke off"),
    ],
)
def test_each_refusal_is_one_line_that_says_what_to_do(error: Exception, reason: Reason, said: str) -> None:
    found = to_refusal(error, "patch it", HOST)
    assert reason is found.reason
    assert found.text.startswith("patch it: ")
    assert said in found.text


def test_a_refusal_is_one_short_line_whatever_the_server_says() -> None:
    found = to_refusal(answer(422, "bad\n\x1b[31mred\x1b[0m " + "x" * 10_000), "patch it", HOST)
    assert len(found.text) < 600
    assert found.text.isprintable()


def test_something_that_is_no_api_server_is_named(pusher: Pusher, monkeypatch: pytest.MonkeyPatch) -> None:
    class Answer:
        data = b"<html>"

    client = Cluster.__new__(Cluster)
    client.identity = pusher.cluster.identity
    with pytest.raises(Refusal, match="is it an API server"):
        client._send("get it", lambda: Answer(), repeat=False)
