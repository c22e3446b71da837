"""Envoy bootstraps: in go a few typed options, out comes a file that `envoy -c` reads.

Which filters a sidecar and the ingress gateway have, and how they ask the authz server, is decided here and nowhere
else. The end-to-end tests start single Envoys with the same functions:

    options = Sidecar("echo", admin_port, Inbound(port, "127.0.0.1:9000"), authz=Authz("127.0.0.1:9191"))
    path = save(sidecar(options), directory / "echo.pb")
    process = start_envoy(options.name, path, admin_port, directory)        # demo.processes
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from envoy_data_plane.envoy.config.accesslog.v3 import AccessLog
from envoy_data_plane.envoy.config.bootstrap.v3 import Admin, Bootstrap, BootstrapStaticResources
from envoy_data_plane.envoy.config.core.v3 import ApiVersion, Node
from envoy_data_plane.envoy.extensions.access_loggers.grpc.v3 import CommonGrpcAccessLogConfig, HttpGrpcAccessLogConfig
from envoy_data_plane.envoy.extensions.filters.http.ext_authz.v3 import (
    BufferSettings,
    CheckSettings,
    ExtAuthz,
    ExtAuthzPerRoute,
)
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpConnectionManagerForwardClientCertDetails,
    HttpConnectionManagerSetCurrentClientCertDetails,
    HttpFilter,
)
from envoy_data_plane.envoy.type.v3 import HttpStatus, StatusCode

from demo.envoy_parts import (
    client_tls,
    cluster,
    file_access_log,
    grpc_to,
    listener,
    packed,
    routes,
    server_tls,
    to_address,
)
from demo.identities import TRUST_DOMAIN, Identity, TlsFiles

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from envoy_data_plane.envoy.config.cluster.v3 import Cluster
    from envoy_data_plane.envoy.config.listener.v3 import Listener
    from envoy_data_plane.envoy.config.route.v3 import RouteConfiguration

EXT_AUTHZ = "envoy.filters.http.ext_authz"
AUTHZ_CLUSTER = "authz"
SERVICE_CLUSTER = "service"
METADATA_KEYS = ("decision_id", "verdict", "mode", "p_value", "endpoint", "revision", "reason")
"""What the authz server puts into `CheckResponse.dynamic_metadata`, and Envoy into its access logs."""

ACCESS_LOG_FIELDS = {
    "ts": "%START_TIME%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(:PATH)%",
    "authority": "%REQ(:AUTHORITY)%",
    "status": "%RESPONSE_CODE%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "flags": "%RESPONSE_FLAGS%",
    "duration_ms": "%DURATION%",
    "caller": "%DOWNSTREAM_PEER_URI_SAN%",
    **{key: f"%DYNAMIC_METADATA({EXT_AUTHZ}:{key})%" for key in METADATA_KEYS},
}


@dataclass(frozen=True, slots=True)
class Authz:
    """How one Envoy asks the authz server.

    `address` is `host:port` or `unix:PATH`. `timeout` is in seconds; None leaves Envoy's 200 ms. `failure_mode_allow`
    is what happens when no answer comes; `status_on_error` the HTTP status then (None is 403). `max_request_bytes` None
    sends no bodies. `tls` and `server` turn on mutual TLS to the server, whose certificate must carry that identity.
    `access_log_flush` is in seconds; None sends no gRPC access log. `encode_raw_headers` sends headers as bytes, in order.
    """

    address: str
    timeout: float | None = 0.25
    failure_mode_allow: bool = True
    status_on_error: int | None = None
    max_request_bytes: int | None = 8192
    allow_partial_message: bool = True
    pack_as_bytes: bool = True
    context_extensions: Mapping[str, str] = field(default_factory=dict)
    tls: TlsFiles | None = None
    server: Identity | None = None
    access_log_flush: float | None = 0.2
    encode_raw_headers: bool = False


@dataclass(frozen=True, slots=True)
class Inbound:
    """Where calls arrive: `port` on loopback, passed on to `service` (`host:port`). `tls` None is plain HTTP."""

    port: int
    service: str
    tls: TlsFiles | None = None
    http2_service: bool = False


@dataclass(frozen=True, slots=True)
class Destination:
    """A workload that can be called: its host names, the addresses of its sidecars, the identity they must show."""

    name: str
    hosts: Sequence[str]
    addresses: Sequence[str]
    identity: Identity


@dataclass(frozen=True, slots=True)
class Outbound:
    """Where the service's own calls leave: plain HTTP in on `port`, mutual TLS out, routed by host."""

    port: int
    tls: TlsFiles
    destinations: Sequence[Destination]


@dataclass(frozen=True, slots=True)
class Sidecar:
    """One Envoy beside one service. `access_log` None writes no file; `authz` None asks nobody.

    `before_authz` are filters on what arrives, the mesh's own policy; with any, paths are normalised as Istio's default does.
    """

    name: str
    admin_port: int
    inbound: Inbound
    authz: Authz | None = None
    outbound: Outbound | None = None
    access_log: Path | None = None
    before_authz: Sequence[HttpFilter] = ()


@dataclass(frozen=True, slots=True)
class Gateway:
    """The mesh's edge: plain HTTP in on `listen` (`host:port`), mutual TLS out, routed by host, no ext_authz."""

    name: str
    admin_port: int
    listen: str
    tls: TlsFiles
    destinations: Sequence[Destination]
    access_log: Path | None = None


def save(bootstrap: Bootstrap, path: Path) -> Path:
    """Write the binary bootstrap that `envoy -c x.pb` reads; the ending matters to Envoy."""
    path.write_bytes(bytes(bootstrap))
    return path


def sidecar(options: Sidecar) -> Bootstrap:
    """Make the bootstrap of one Envoy in front of, and if asked behind, one service."""
    inbound, outbound = options.inbound, options.outbound
    service = cluster(SERVICE_CLUSTER, [inbound.service], http2=inbound.http2_service)
    listeners, clusters = [_inbound_listener(options)], [service]
    if options.authz is not None:
        clusters.append(_authz_cluster(options.authz))
    if outbound is not None:
        manager = _manager("outbound", _routes_to(outbound.destinations), [], [])
        listeners.append(listener("outbound", f"127.0.0.1:{outbound.port}", manager))
        clusters += _clusters_of(outbound.destinations, outbound.tls)
    return _bootstrap(options.name, options.admin_port, listeners, clusters)


def gateway(options: Gateway) -> Bootstrap:
    """Make the bootstrap of the ingress gateway.

    It is the edge, so x-forwarded-for and x-request-id are its word and not the client's (`use_remote_address`), and
    the client learns the request id that the decision log knows its call by.
    """
    log = [] if options.access_log is None else [file_access_log(options.access_log, ACCESS_LOG_FIELDS)]
    manager = _manager("ingress", _routes_to(options.destinations), [], log)
    manager.use_remote_address = True
    manager.always_set_request_id_in_response = True
    clusters = _clusters_of(options.destinations, options.tls)
    return _bootstrap(options.name, options.admin_port, [listener("ingress", options.listen, manager)], clusters)


def _inbound_listener(options: Sidecar) -> Listener:
    inbound, authz = options.inbound, options.authz
    logs = [] if options.access_log is None else [file_access_log(options.access_log, ACCESS_LOG_FIELDS)]
    filters = [*options.before_authz]
    table = routes("inbound", {SERVICE_CLUSTER: ["*"]})
    if authz is not None:
        filters.append(HttpFilter(name=EXT_AUTHZ, typed_config=packed(ext_authz(authz))))
        if authz.access_log_flush is not None:
            logs.append(_grpc_access_log(options.name, authz.access_log_flush))
        if authz.context_extensions:
            extensions = CheckSettings(context_extensions=dict(authz.context_extensions))
            table.typed_per_filter_config = {EXT_AUTHZ: packed(ExtAuthzPerRoute(check_settings=extensions))}
    manager = _manager("inbound", table, filters, logs)
    if options.before_authz:
        manager.normalize_path = True  # Istio's BASE; policies mean what they say only then
    tls = None
    if inbound.tls is not None:
        tls = server_tls(inbound.tls, client_prefix=f"spiffe://{TRUST_DOMAIN}/")
        manager.forward_client_cert_details = HttpConnectionManagerForwardClientCertDetails.SANITIZE_SET
        manager.set_current_client_cert_details = HttpConnectionManagerSetCurrentClientCertDetails(uri=True)
    return listener("inbound", f"127.0.0.1:{inbound.port}", manager, tls)


def ext_authz(authz: Authz) -> ExtAuthz:
    """Make the filter that asks the authz server about every request."""
    body = None
    if authz.max_request_bytes is not None:
        body = BufferSettings(
            max_request_bytes=authz.max_request_bytes,
            allow_partial_message=authz.allow_partial_message,
            pack_as_bytes=authz.pack_as_bytes,
        )
    status = None if authz.status_on_error is None else HttpStatus(code=StatusCode(authz.status_on_error))
    return ExtAuthz(
        grpc_service=grpc_to(AUTHZ_CLUSTER, authz.timeout),
        transport_api_version=ApiVersion.V3,
        failure_mode_allow=authz.failure_mode_allow,
        status_on_error=status,
        with_request_body=body,
        include_peer_certificate=True,
        encode_raw_headers=authz.encode_raw_headers,
    )


def _grpc_access_log(name: str, flush: float) -> AccessLog:
    common = CommonGrpcAccessLogConfig(
        log_name=name,
        grpc_service=grpc_to(AUTHZ_CLUSTER),
        transport_api_version=ApiVersion.V3,
        buffer_flush_interval=datetime.timedelta(seconds=flush),
    )
    config = HttpGrpcAccessLogConfig(common_config=common)
    return AccessLog(name="envoy.access_loggers.http_grpc", typed_config=packed(config))


def _authz_cluster(authz: Authz) -> Cluster:
    tls = None
    if authz.tls is not None:
        if authz.server is None:
            raise ValueError("Authz.tls needs Authz.server, the identity that the server's certificate must carry")
        tls = client_tls(authz.tls, authz.server.principal, http2=True)
    return cluster(AUTHZ_CLUSTER, [authz.address], http2=True, tls=tls)


def _routes_to(destinations: Sequence[Destination]) -> RouteConfiguration:
    return routes("by-host", {destination.name: destination.hosts for destination in destinations})


def _clusters_of(destinations: Sequence[Destination], tls: TlsFiles) -> list[Cluster]:
    return [
        cluster(destination.name, destination.addresses, tls=client_tls(tls, destination.identity.principal))
        for destination in destinations
    ]


def _manager(
    stat_prefix: str, table: RouteConfiguration, filters: list[HttpFilter], logs: list[AccessLog]
) -> HttpConnectionManager:
    router = HttpFilter(name="envoy.filters.http.router", typed_config=packed(Router()))
    return HttpConnectionManager(
        stat_prefix=stat_prefix,
        route_config=table,
        http_filters=[*filters, router],
        access_log=logs,
    )


def _bootstrap(name: str, admin_port: int, listeners: list[Listener], clusters: list[Cluster]) -> Bootstrap:
    return Bootstrap(
        node=Node(id=name, cluster=name),
        static_resources=BootstrapStaticResources(listeners=listeners, clusters=clusters),
        admin=Admin(address=to_address(f"127.0.0.1:{admin_port}")),
    )
