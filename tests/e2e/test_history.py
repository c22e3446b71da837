"""Two servers that share their callers' histories, each with its own Envoy: what one saw, the other knows."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from envoy.config.core.v3.base_pb2 import RequestMethod
from envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage, StreamAccessLogsResponse

from demo.redis_server import Kind, RedisServer
from tests.e2e.conftest import Services
from tests.e2e.parts import SHOP, AuthzServer, Proxy, channel, check_request, eventually, policy
from tests.e2e.traffic import Step, add, new_session, pay, ship

_ALS = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"


class Mesh(NamedTuple):
    """Two servers with their Envoys, and the Redis or Valkey between them."""

    redis: RedisServer
    servers: tuple[AuthzServer, AuthzServer]
    proxies: tuple[Proxy, Proxy]


@pytest.fixture(scope="module", params=list(Kind))
def started(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, bundle: Path, services: Services
) -> Iterator[Mesh]:
    directory = tmp_path_factory.mktemp("history")
    with ExitStack() as running:
        redis = running.enter_context(RedisServer(request.param, directory))
        servers = []
        for name in ("one", "other"):
            place = directory / name
            place.mkdir()
            settings: dict[str, Any] = {"bundle": bundle, "policy": policy(place / "enforcement.yaml")}
            settings |= {"history": redis.url, "history_timeout_ms": 200}
            servers.append(running.enter_context(AuthzServer(place, **settings)))
        proxies = [running.enter_context(Proxy(directory, server.listen, services.http)) for server in servers]
        yield Mesh(redis, (servers[0], servers[1]), (proxies[0], proxies[1]))


@pytest.fixture
def mesh(started: Mesh) -> Mesh:
    """The mesh, when it judges: an empty Redis could be one that lost its data, so nobody is judged at first."""
    eventually(lambda: walk(started, (0, add()), (1, ship()), (0, ship())) == [200, 403, 403], 30)
    return started


def walk(mesh: Mesh, *steps: tuple[int, Step]) -> list[int]:
    """Take the steps of one session, each through the Envoy of that number; return their statuses."""
    session = {"cookie": f"sid={new_session()}"}
    return [mesh.proxies[number].call(*step, headers=session).status for number, step in steps]


def ask(server: AuthzServer, step: Step, session: str) -> Any:
    """Ask as an Envoy does that logs elsewhere."""
    with server.stub() as stub:
        body = b'{"amount": 12.5}' if step.path == "/pay" else b'{"express": true}' if step.path == "/ship" else b""
        body = body or b'{"item": 1007, "count": 2}'
        return stub.Check(check_request(step.method, step.path, body=body, session=session), timeout=5)


def log(server: AuthzServer, decision_id: str, status: int) -> None:
    """Send an access log entry as an Envoy does."""
    message = StreamAccessLogsMessage()
    entry = message.http_logs.log_entry.add()
    metadata = entry.common_properties.metadata.filter_metadata["envoy.filters.http.ext_authz"]
    metadata.update({"decision_id": decision_id})
    entry.request.request_method, entry.request.authority = RequestMethod.POST, SHOP
    entry.response.response_code.value = status
    with channel(server.listen) as opened:
        stream = opened.stream_unary(
            _ALS,
            request_serializer=StreamAccessLogsMessage.SerializeToString,
            response_deserializer=StreamAccessLogsResponse.FromString,
        )
        assert stream(iter([message]), timeout=5) is not None


def degraded(servers: tuple[AuthzServer, ...]) -> list[float]:
    return [server.metric("authz_history_degraded") for server in servers]


def test_alternate_steps_of_one_session_are_one_workflow(mesh: Mesh) -> None:
    assert [200, 200, 200] == walk(mesh, (0, add()), (1, pay()), (0, ship()))
    assert [200, 403] == walk(mesh, (1, add()), (0, ship()))
    assert [200, 403, 200, 200] == walk(mesh, (0, add()), (1, ship()), (0, pay()), (1, ship()))
    assert [0.0, 0.0] == degraded(mesh.servers)


def test_the_check_reaches_one_server_and_its_access_log_entry_the_other(mesh: Mesh) -> None:
    one, other = mesh.servers
    session, joined = new_session(), other.metric("authz_outcomes_joined_total")
    ask(one, add(), session)
    paid = ask(one, pay(), session)
    log(other, paid.dynamic_metadata["decision_id"], 402)
    eventually(lambda: other.metric("authz_outcomes_joined_total") > joined)  # Envoys' entries of earlier calls may come as well
    eventually(lambda: ask(one, ship(), session).status.code == 7)
    assert [7, 0, 0] == [
        ask(server, step, session).status.code for server, step in ((one, ship()), (other, pay()), (one, ship()))
    ]


def test_a_history_survives_the_server(mesh: Mesh) -> None:
    session = {"cookie": f"sid={new_session()}"}
    assert mesh.proxies[0].call(*add(), headers=session).status == 200
    mesh.servers[0].stop()
    mesh.servers[0].start()
    eventually(lambda: mesh.proxies[0].call(*ship(), headers=session).status == 403)


@pytest.mark.parametrize("outage", ["ended", "paused"])
def test_while_redis_is_gone_calls_are_answered_in_time_and_nobody_is_condemned(mesh: Mesh, outage: str) -> None:
    steps = {"ended": (mesh.redis.kill, mesh.redis.start), "paused": (mesh.redis.pause, mesh.redis.resume)}
    end, begin = steps[outage]
    before = {"cookie": f"sid={new_session()}"}
    assert mesh.proxies[0].call(*add(), headers=before).status == 200
    end()
    began = time.monotonic()
    assert [200, 200] == walk(mesh, (0, add()), (1, ship()))
    assert time.monotonic() - began < 4.0
    eventually(lambda: degraded(mesh.servers) == [1.0, 1.0])
    assert mesh.proxies[1].call(*pay(), headers=before).status == 200
    assert all(server.metric("authz_history_faults_total") >= 1 for server in mesh.servers)
    begin()
    eventually(lambda: degraded(mesh.servers) == [0.0, 0.0], 15)
    assert mesh.proxies[0].call(*ship(), headers=before).status == 200
    eventually(lambda: walk(mesh, (0, add()), (1, ship())) == [200, 403], 15)


def test_traffic_goes_on_while_redis_is_stopped_paused_and_restarted(mesh: Mesh) -> None:
    acts: list[Callable[[], None]] = [mesh.redis.pause, mesh.redis.resume, mesh.redis.stop, mesh.redis.start, mesh.redis.kill]
    statuses = []
    for act in [*acts, mesh.redis.start]:
        act()
        for number in range(6):
            here, there = number % 2, (number + 1) % 2
            statuses += walk(mesh, (here, add()), (there, pay()), (here, ship()))
    assert {200} == set(statuses)
