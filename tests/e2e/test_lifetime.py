"""From start to end: readiness, health, what a drain does, and what a crash costs."""

import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import grpc
import pytest
from envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage
from envoy.service.accesslog.v3.als_pb2_grpc import AccessLogServiceStub
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub

from authz_server.engine.observe import Observer
from tests.e2e.parts import HASH_KEY, AuthzServer, Proxy, channel, check_request, eventually
from tests.e2e.traffic import browse
from trainer.store import Reading, read_calls

AUTHORIZATION = "envoy.service.auth.v3.Authorization"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def decision_ids_until_the_end(server: AuthzServer, pause: float = 0.0) -> tuple[list[tuple[float, str]], grpc.RpcError]:
    """Ask one Check after the other until the server is gone; tell when which decision came, and the error at the end."""
    answered: list[tuple[float, str]] = []
    with server.stub() as stub:
        while True:
            try:
                answer = stub.Check(check_request(), timeout=5)
            except grpc.RpcError as error:
                return answered, error
            answered.append((time.monotonic(), answer.dynamic_metadata["decision_id"]))
            time.sleep(pause)


def test_the_health_service_says_serving_for_the_server_and_its_service(make_server: Callable[..., AuthzServer]) -> None:
    with channel(make_server().listen) as opened:
        health = HealthStub(opened)
        asked = [health_pb2.HealthCheckRequest(service=service) for service in ("", AUTHORIZATION)]
        assert [health.Check(request, timeout=5).status for request in asked] == [SERVING, SERVING]
        with pytest.raises(grpc.RpcError) as error:
            health.Check(health_pb2.HealthCheckRequest(service="no.such.Service"), timeout=5)
    assert error.value.code() is grpc.StatusCode.NOT_FOUND


def test_on_sigterm_it_is_not_ready_first_then_ends(make_server: Callable[..., AuthzServer]) -> None:
    server = make_server(settings={"grace_seconds": 5})
    release = Event()

    def messages() -> Iterator[StreamAccessLogsMessage]:
        yield StreamAccessLogsMessage()
        release.wait(10)

    with channel(server.listen) as opened:
        told = HealthStub(opened).Watch(health_pb2.HealthCheckRequest(service=AUTHORIZATION))
        assert next(told).status == SERVING
        stream = AccessLogServiceStub(opened).StreamAccessLogs.future(messages())
        assert server.get("/readyz").json == {"ready": True, "reasons": []}

        server.signal(signal.SIGTERM)
        assert next(told).status == NOT_SERVING
        assert (server.get("/readyz").status, server.get("/readyz").json["reasons"]) == (503, ["draining"])
        assert server.get("/healthz").status == 200
        told.cancel()
        stream.cancel()
        release.set()
        assert server.process.wait() == 0


def test_envoys_that_stay_connected_do_not_hold_up_the_end(
    make_server: Callable[..., AuthzServer], make_proxy: Callable[..., Proxy]
) -> None:
    server = make_server(settings={"grace_seconds": 60})
    proxy = make_proxy(server.listen)
    proxy.take(browse())
    eventually(lambda: server.metric("authz_outcomes_joined_total") == 1)
    began = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - began < 5.0


def test_a_drain_answers_what_it_decided_and_completes_what_it_recorded(
    tmp_path: Path, make_server: Callable[..., AuthzServer]
) -> None:
    server = make_server(settings={"grace_seconds": 5, "record": tmp_path / "store"})
    with ThreadPoolExecutor(4) as threads:
        running = [threads.submit(decision_ids_until_the_end, server) for _ in range(4)]
        eventually(lambda: server.metric("authz_decisions_total") >= 200)
        server.signal(signal.SIGTERM)
        ended = [future.result() for future in running]
    assert server.process.wait() == 0
    answered = {decision_id for decisions, _ in ended for _, decision_id in decisions}
    # gRPC's C core cancels what arrives between the beginning of its shutdown and the client's hearing of it: never decided.
    assert {error.code() for _, error in ended} <= {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
    assert len(answered) >= 200
    assert {decision["decision_id"] for decision in server.decided()} == answered
    reading = Reading()
    assert {call.id for call in read_calls(server.store, key_id=Observer(HASH_KEY).key_id, reading=reading)} == answered
    assert (reading.torn, reading.corrupt) == (0, 0)
    assert [path.name for path in Path(server.store).iterdir() if not path.name.endswith(".jsonl.gz")] == []


def test_a_killed_server_loses_at_most_the_last_second_of_what_it_recorded(
    tmp_path: Path, make_server: Callable[..., AuthzServer]
) -> None:
    server = make_server(settings={"record": tmp_path / "store"})
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(decision_ids_until_the_end, server, 0.002)
        time.sleep(2.5)
        killed = time.monotonic()
        server.process.kill()
        answered, _ = running.result()
    reading = Reading()
    kept = {call.id for call in read_calls(server.store, reading=reading)}
    older = {decision_id for when, decision_id in answered if when < killed - 1.0}
    assert len(older) > 50
    assert (older - kept, reading.corrupt) == (set(), 0)

    server.start()
    eventually(lambda: not list(Path(server.store).glob("*.jsonl")))
    assert {call.id for call in read_calls(server.store)} == kept
