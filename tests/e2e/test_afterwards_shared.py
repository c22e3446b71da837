"""Two servers that share a Redis or Valkey: front's Envoy asks one, audit's the other, and both know what the other saw."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from authz_server.afterwards import WARM
from demo.identities import Authority
from demo.processes import free_ports
from demo.redis_server import Kind, RedisServer
from tests.e2e.conftest import Services
from tests.e2e.parts import COOKIE, AuthzServer, Proxy, Reply, eventually, policy
from tests.e2e.past import AUDIT, FRONT, GATEWAY, ORDER, learned
from tests.e2e.small_mesh import FrontService, to_context
from tests.e2e.traffic import new_session


class Mesh(NamedTuple):
    """What runs, and the server that front's Envoy asks."""

    authority: Authority
    server: AuthzServer
    service: FrontService
    front: Proxy
    audit: Proxy

    def order(self, session: str = "") -> Reply:
        with self.front.client(to_context(self.authority, GATEWAY)) as client:
            return client.call("POST", "/orders", ORDER, {"cookie": f"{COOKIE}={session or new_session()}"})

    def record(self, session: str) -> Reply:
        """Have an order audited, as front does."""
        with self.audit.client(to_context(self.authority, FRONT)) as client:
            return client.call("POST", "/records", ORDER, {"cookie": f"{COOKIE}={session}"})

    def alerts(self, reply: Reply) -> list[dict[str, Any]]:
        lines = self.server.decided()
        return [line for line in lines if line["request_id"] == reply.request_id and line["basis"] == "afterwards"]


@pytest.fixture(params=list(Kind))
def mesh(request: pytest.FixtureRequest, tmp_path: Path, authority: Authority, services: Services) -> Iterator[Mesh]:
    with ExitStack() as started:
        redis = started.enter_context(RedisServer(request.param, tmp_path))
        bundle = learned(tmp_path / "bundle", free_ports(1)[0])
        path = policy(tmp_path / "enforcement.yaml", quarantine=30)
        servers = []
        for name in ("one", "other"):
            place = tmp_path / name
            place.mkdir()
            server = AuthzServer(place, policy=path, bundle=bundle, history=redis.url, history_timeout_ms=500)
            servers.append(started.enter_context(server))
        audit = started.enter_context(Proxy(tmp_path, servers[1].listen, services.http, inbound=authority.issue(AUDIT)))
        service = FrontService(audit.port, to_context(authority, FRONT))
        started.callback(service.stop)
        front = started.enter_context(Proxy(tmp_path, servers[0].listen, service.address, inbound=authority.issue(FRONT)))
        yield Mesh(authority, servers[0], service, front, audit)


def test_what_the_other_server_saw_is_not_missing_and_what_it_did_not_see_is_a_quarantine_at_both(mesh: Mesh) -> None:
    audited = [mesh.order() for _ in range(2 * WARM)]
    session = new_session()
    eventually(lambda: mesh.record(session).status == 200)
    mesh.service.skips = True
    reply = mesh.order(session)
    mesh.service.skips = False
    (alert,) = eventually(lambda: mesh.alerts(reply), 15.0)
    assert ({200}, 200, "missing_call") == ({one.status for one in audited}, reply.status, alert["findings"][0]["code"])
    assert [] == [alert for one in audited for alert in mesh.alerts(one)]
    eventually(lambda: (mesh.order(session).status, mesh.record(session).status) == (403, 403))
    assert 200 == mesh.order().status
