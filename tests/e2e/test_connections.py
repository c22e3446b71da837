"""Connections that aren't HTTP: Envoy's network filter asks with no HTTP attributes, and policy answers."""

import http.client
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from envoy_data_plane.envoy.config.core.v3 import ApiVersion
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, Listener
from envoy_data_plane.envoy.extensions.filters.network.ext_authz.v3 import ExtAuthz
from envoy_data_plane.envoy.extensions.filters.network.tcp_proxy.v3 import TcpProxy

from demo.envoy_config import AUTHZ_CLUSTER, SERVICE_CLUSTER, Authz, Inbound, Sidecar, save, sidecar
from demo.envoy_parts import grpc_to, packed, to_address
from demo.processes import free_ports, start_envoy
from tests.e2e.conftest import Services
from tests.e2e.parts import AuthzServer, eventually, policy


@pytest.fixture
def server(make_server: Callable[..., AuthzServer]) -> AuthzServer:
    return make_server("enforce")


@pytest.fixture
def port(tmp_path: Path, server: AuthzServer, services: Services) -> Iterator[int]:
    """An Envoy that passes bytes on, whatever they are, if the server says so."""
    port, admin_port = free_ports(2)
    authorize = ExtAuthz(stat_prefix="connections", grpc_service=grpc_to(AUTHZ_CLUSTER, 2.0), transport_api_version=ApiVersion.V3)
    filters = [
        Filter(name="envoy.filters.network.ext_authz", typed_config=packed(authorize)),
        Filter(name="envoy.filters.network.tcp_proxy", typed_config=packed(TcpProxy(stat_prefix="tcp", cluster=SERVICE_CLUSTER))),
    ]
    bootstrap = sidecar(Sidecar("connections", admin_port, Inbound(port, services.http), Authz(server.listen)))
    assert bootstrap.static_resources is not None
    bootstrap.static_resources.listeners = [
        Listener(name="tcp", address=to_address(f"127.0.0.1:{port}"), filter_chains=[FilterChain(filters=filters)])
    ]
    process = start_envoy("connections", save(bootstrap, tmp_path / "connections.pb"), admin_port, tmp_path)
    yield port
    process.stop()


def passes(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/whatever")
        with connection.getresponse() as answer:
            return answer.status == 200
    except (ConnectionError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def test_a_connection_without_http_passes_or_is_closed_as_the_policy_says(tmp_path: Path, server: AuthzServer, port: int) -> None:
    assert passes(port)
    assert {decision["basis"] for decision in eventually(server.decided)} == {"not_http"}

    policy(tmp_path / "enforcement.yaml", "enforce", non_http_allow=False)
    eventually(lambda: not server.get("/config").json["policy"]["defaults"]["non_http_allow"])
    assert not passes(port)
    assert server.metric("authz_decisions_total", reason="not_http", refused="true") == 1
