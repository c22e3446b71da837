"""The small parts of an Envoy configuration, as `envoy-data-plane` messages: addresses, clusters, TLS, access logs.

No rule of the mesh lives here; which parts make a sidecar or a gateway is `envoy_config`'s.
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

from envoy_data_plane.envoy.config.accesslog.v3 import AccessLog
from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterDiscoveryType
from envoy_data_plane.envoy.config.core.v3 import (
    Address,
    DataSource,
    GrpcService,
    GrpcServiceEnvoyGrpc,
    Http1ProtocolOptions,
    Http2ProtocolOptions,
    Pipe,
    SocketAddress,
    SubstitutionFormatString,
    TransportSocket,
)
from envoy_data_plane.envoy.config.endpoint.v3 import ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, Listener
from envoy_data_plane.envoy.config.route.v3 import (
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
)
from envoy_data_plane.envoy.extensions.access_loggers.file.v3 import FileAccessLog
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    CommonTlsContext,
    DownstreamTlsContext,
    SubjectAltNameMatcher,
    SubjectAltNameMatcherSanType,
    TlsCertificate,
    UpstreamTlsContext,
)
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import (
    HttpProtocolOptions,
    HttpProtocolOptionsExplicitHttpConfig,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher
from envoy_data_plane.google.protobuf import Any, Struct

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from betterproto2 import Message
    from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpConnectionManager

    from demo.identities import TlsFiles

CONNECT_TIMEOUT = datetime.timedelta(seconds=1)
HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def packed(message: Message) -> Any:
    """Wrap a message as `google.protobuf.Any`."""
    return Any.pack(message)


def to_address(text: str) -> Address:
    """Read `host:port` or `unix:PATH`, the two spellings the authz server's `--listen` takes."""
    if text.startswith("unix:"):
        return Address(pipe=Pipe(path=text.removeprefix("unix:")))
    host, _, port = text.rpartition(":")
    return Address(socket_address=SocketAddress(address=host.strip("[]"), port_value=int(port)))


def grpc_to(cluster_name: str, timeout: float | None = None) -> GrpcService:
    """Call `cluster_name` with Envoy's own gRPC client; `timeout` None is Envoy's default (200 ms for ext_authz)."""
    return GrpcService(
        envoy_grpc=GrpcServiceEnvoyGrpc(cluster_name=cluster_name),
        timeout=None if timeout is None else datetime.timedelta(seconds=timeout),
    )


def cluster(name: str, addresses: Sequence[str], *, http2: bool = False, tls: TransportSocket | None = None) -> Cluster:
    """Upstreams at fixed addresses, called in turn (round robin is Envoy's default)."""
    endpoints = [LbEndpoint(endpoint=Endpoint(address=to_address(address))) for address in addresses]
    explicit = (
        HttpProtocolOptionsExplicitHttpConfig(http2_protocol_options=Http2ProtocolOptions())
        if http2
        else HttpProtocolOptionsExplicitHttpConfig(http_protocol_options=Http1ProtocolOptions())
    )
    return Cluster(
        name=name,
        type=ClusterDiscoveryType.STATIC,
        connect_timeout=CONNECT_TIMEOUT,
        load_assignment=ClusterLoadAssignment(cluster_name=name, endpoints=[LocalityLbEndpoints(lb_endpoints=endpoints)]),
        typed_extension_protocol_options={HTTP_OPTIONS: packed(HttpProtocolOptions(explicit_http_config=explicit))},
        transport_socket=tls,
    )


def _common_tls(files: TlsFiles, peer: StringMatcher, alpn: Sequence[str]) -> CommonTlsContext:
    return CommonTlsContext(
        tls_certificates=[
            TlsCertificate(
                certificate_chain=DataSource(filename=str(files.certificate)),
                private_key=DataSource(filename=str(files.key)),
            )
        ],
        validation_context=CertificateValidationContext(
            trusted_ca=DataSource(filename=str(files.ca)),
            match_typed_subject_alt_names=[SubjectAltNameMatcher(san_type=SubjectAltNameMatcherSanType.URI, matcher=peer)],
        ),
        alpn_protocols=list(alpn),
    )


def server_tls(files: TlsFiles, client_prefix: str) -> TransportSocket:
    """Listen with mutual TLS: the client must show a certificate of the CA whose URI begins with `client_prefix`."""
    context = DownstreamTlsContext(
        common_tls_context=_common_tls(files, StringMatcher(prefix=client_prefix), ("h2", "http/1.1")),
        require_client_certificate=True,
    )
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=packed(context))


def client_tls(files: TlsFiles, peer: str, *, http2: bool = False) -> TransportSocket:
    """Connect with mutual TLS to a server whose certificate's URI is exactly `peer`."""
    alpn = ("h2",) if http2 else ("http/1.1",)
    context = UpstreamTlsContext(common_tls_context=_common_tls(files, StringMatcher(exact=peer), alpn))
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=packed(context))


def file_access_log(path: Path, fields: Mapping[str, str]) -> AccessLog:
    """Write one JSON object a line to `path`; `fields` maps names to Envoy's command operators."""
    log = FileAccessLog(
        path=str(path),
        log_format=SubstitutionFormatString(json_format=Struct.from_dict(dict(fields))),
    )
    return AccessLog(name="envoy.access_loggers.file", typed_config=packed(log))


def routes(name: str, clusters: Mapping[str, Sequence[str]]) -> RouteConfiguration:
    """Route every path by host: `clusters` maps a cluster's name to its host names (`*` is any host)."""
    hosts = [
        VirtualHost(
            name=target,
            domains=[domain for host in hosts for domain in ([host] if host == "*" else [host, f"{host}:*"])],
            routes=[Route(match=RouteMatch(prefix="/"), route=RouteAction(cluster=target))],
        )
        for target, hosts in clusters.items()
    ]
    return RouteConfiguration(name=name, virtual_hosts=hosts)


def listener(name: str, address: str, manager: HttpConnectionManager, tls: TransportSocket | None = None) -> Listener:
    """One listening address whose connections go to `manager`; `tls` None is plain HTTP."""
    http = Filter(name="envoy.filters.network.http_connection_manager", typed_config=packed(manager))
    return Listener(
        name=name,
        address=to_address(address),
        filter_chains=[FilterChain(filters=[http], transport_socket=tls)],
        enable_reuse_port=False,
    )
