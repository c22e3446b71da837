"""What a call gets when the server can't be asked, can't answer or can't start."""

import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from envoy.service.auth.v3.external_auth_pb2 import CheckResponse
from google.rpc.code_pb2 import UNAVAILABLE

from demo.processes import ROOT, free_ports
from tests.e2e.parts import ERROR_STATUS, AuthzServer, Proxy, channel, check_request, environment, eventually
from tests.e2e.traffic import ODD

CHECK = "/envoy.service.auth.v3.Authorization/Check"


@pytest.mark.parametrize(
    ("allow", "status"), [(True, 200), (False, ERROR_STATUS)], ids=["failure-mode-allow", "failure-mode-deny"]
)
def test_without_a_server_envoys_failure_mode_answers(allow: bool, status: int, make_proxy: Callable[..., Proxy]) -> None:
    proxy = make_proxy(f"127.0.0.1:{free_ports(1)[0]}", failure_mode_allow=allow)
    assert proxy.take(ODD).status == status
    assert (proxy.stat("error"), proxy.stat("failure_mode_allowed")) == (1, int(allow))


def test_a_server_that_came_back_is_asked_again(
    make_server: Callable[..., AuthzServer], make_proxy: Callable[..., Proxy]
) -> None:
    server = make_server()
    proxy = make_proxy(server.listen)
    assert proxy.take(ODD).status == 403
    server.process.kill()
    assert proxy.take(ODD).status == ERROR_STATUS
    server.start()
    eventually(lambda: proxy.take(ODD).status == 403)


def test_a_server_that_does_not_answer_in_time_is_answered_for_by_the_failure_mode_until_it_does(
    make_server: Callable[..., AuthzServer], make_proxy: Callable[..., Proxy]
) -> None:
    server = make_server()
    proxies = [make_proxy(server.listen, failure_mode_allow=allow, timeout=0.2) for allow in (True, False)]
    for proxy in proxies:
        eventually(lambda proxy=proxy: proxy.take(ODD).status == 403)  # type: ignore[misc]
    server.signal(signal.SIGSTOP)
    began = time.monotonic()
    assert [proxy.take(ODD).status for proxy in proxies] == [200, ERROR_STATUS]
    assert 0.3 < time.monotonic() - began < 4.0
    server.signal(signal.SIGCONT)
    for proxy in proxies:
        eventually(lambda proxy=proxy: proxy.take(ODD).status == 403)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("mode", "allow", "code", "status"),
    [("enforce", True, 0, 0), ("enforce", False, UNAVAILABLE, 503), ("dry_run", False, 0, 0)],
)
def test_an_error_while_judging_is_answered_by_the_policys_failure_mode_and_counted(
    mode: str, allow: bool, code: int, status: int, make_server: Callable[..., AuthzServer]
) -> None:
    server = make_server(mode, failure_mode_allow=allow)
    with channel(server.listen) as opened:
        answer = CheckResponse.FromString(opened.unary_unary(CHECK)(b"\xff\xff no protobuf", timeout=5))
        after = CheckResponse.FromString(opened.unary_unary(CHECK)(check_request().SerializeToString(), timeout=5))
    assert (answer.status.code, answer.denied_response.status.code) == (code, status)
    assert (after.status.code, after.dynamic_metadata["reason"]) == (0, "judged")
    assert server.metric("authz_errors_total") == 1
    assert server.metric("authz_decisions_total", reason="error", refused=str(bool(code)).lower()) == 1
    decision = server.decision(answer.dynamic_metadata["decision_id"])
    assert (decision["basis"], decision["refused"]) == ("error", bool(code))
    eventually(lambda: "check_failed" in server.process.log.read_text())


def test_it_refuses_to_start_with_every_problem_of_settings_policy_and_bundle(tmp_path: Path) -> None:
    path, bundle = tmp_path / "enforcement.yaml", tmp_path / "bundle"
    path.write_text("version: 1\ndefaults: {mode: enforced, budget: 2}\nworkload: {}\n")
    bundle.mkdir()
    (bundle / "current").write_text("no-such-revision\n")
    settings: dict[str, Any] = {
        "threads": "many",
        "tls_cert": tmp_path / "none.pem",
        "policy": path,
        "bundle": bundle,
        "watch_second": 1,
    }
    ended = start_in_vain(AuthzServer(tmp_path, **settings))
    said = ended.stderr
    for problem in (
        "--threads",
        "--tls-cert",
        "--watch-second",
        "defaults.mode",
        "defaults.budget",
        "workload: unknown",
        "no-such-revision",
    ):
        assert problem in said
    assert (ended.returncode, ended.stdout) == (2, "")


def test_it_refuses_to_start_where_addresses_are_taken_and_names_both_and_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "enforcement.yaml"
    path.write_text("version: 7\n")
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0)) as other:
        listen, admin = (f"127.0.0.1:{opened.getsockname()[1]}" for opened in (taken, other))
        ended = start_in_vain(AuthzServer(tmp_path, listen=listen, admin=admin, policy=path, record=path / "store"))
    for problem in (f"listen: expected an address that can be listened on, got '{listen}'", f"got '{admin}'", "version", "store"):
        assert problem in ended.stderr
    assert ended.returncode == 2


def start_in_vain(server: AuthzServer) -> subprocess.CompletedProcess[str]:
    return subprocess.run(server.command(), capture_output=True, text=True, timeout=20, env=environment(), cwd=ROOT, check=False)
