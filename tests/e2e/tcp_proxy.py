"""A real Envoy that passes connections of any kind on: its network filter asks about each, without HTTP attributes."""

import http.client
import ssl
from pathlib import Path
from types import TracebackType
from typing import Self

from envoy_data_plane.envoy.config.core.v3 import ApiVersion
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, Listener
from envoy_data_plane.envoy.extensions.filters.network.ext_authz.v3 import ExtAuthz
from envoy_data_plane.envoy.extensions.filters.network.tcp_proxy.v3 import TcpProxy as TcpProxyFilter

from demo.envoy_config import AUTHZ_CLUSTER, SERVICE_CLUSTER, Authz, Inbound, Sidecar, save, sidecar
from demo.envoy_parts import grpc_to, packed, server_tls, to_address
from demo.identities import TRUST_DOMAIN, TlsFiles
from demo.processes import answers, free_ports, start_envoy
from tests.e2e.parts import Client


class TcpProxy:
    """A real Envoy that passes bytes on to `service`, whatever they are, if the server at `authz` says so."""

    def __init__(
        self, directory: Path, authz: str, service: str, *, port: int | None = None, inbound: TlsFiles | None = None
    ) -> None:
        free, self._admin = free_ports(2)
        self.port = port or free
        name = f"envoy-tcp-{self.port}"
        bootstrap = sidecar(Sidecar(name, self._admin, Inbound(self.port, service, inbound), Authz(authz)))
        assert bootstrap.static_resources is not None
        bootstrap.static_resources.listeners = [tcp_listener(self.port, inbound)]
        self._process = start_envoy(name, save(bootstrap, directory / f"{name}.pb"), self._admin, directory, wait=False)

    def __enter__(self) -> Self:
        try:
            self._process.wait_ready(answers(f"http://127.0.0.1:{self._admin}/ready"))
        except BaseException:
            self._process.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.stop()

    def passes(self, tls: ssl.SSLContext | None = None) -> bool:
        """Tell whether bytes pass; those of HTTP, because that is what the service behind speaks."""
        try:
            with Client(self.port, tls) as client:
                return client.call("GET", "/whatever").status == 200
        except (ConnectionError, http.client.HTTPException, ssl.SSLError):
            return False


def tcp_listener(port: int, inbound: TlsFiles | None = None) -> Listener:
    """Listen for connections of any kind, and ask about each with Envoy's network filter."""
    authorize = ExtAuthz(stat_prefix="connections", grpc_service=grpc_to(AUTHZ_CLUSTER, 2.0), transport_api_version=ApiVersion.V3)
    filters = [
        Filter(name="envoy.filters.network.ext_authz", typed_config=packed(authorize)),
        Filter(
            name="envoy.filters.network.tcp_proxy",
            typed_config=packed(TcpProxyFilter(stat_prefix="tcp", cluster=SERVICE_CLUSTER)),
        ),
    ]
    tls = None if inbound is None else server_tls(inbound, client_prefix=f"spiffe://{TRUST_DOMAIN}/")
    return Listener(
        name="tcp", address=to_address(f"127.0.0.1:{port}"), filter_chains=[FilterChain(filters=filters, transport_socket=tls)]
    )
