"""One real Envoy that holds many requests against many policies: a route a group of policies, an access log line a request.

Listeners: without TLS; mutual TLS; mutual TLS and a validated token; and one whose caller stands in filter state, as at a
waypoint. Every network listener is a group of policies of its own. Which route is taken says the header `x-group`.
"""

import http.client
import json
import socket
import ssl
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from envoy_data_plane.envoy.config.bootstrap.v3 import Admin, Bootstrap, BootstrapStaticResources
from envoy_data_plane.envoy.config.core.v3 import DataSource, Node, SubstitutionFormatString
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, Listener, ListenerFilter
from envoy_data_plane.envoy.config.route.v3 import (
    DirectResponseAction,
    HeaderMatcher,
    Route,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
)
from envoy_data_plane.envoy.extensions.filters.common.set_filter_state.v3 import FilterStateValue
from envoy_data_plane.envoy.extensions.filters.http.rbac.v3 import Rbac, RbacPerRoute
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.http.set_filter_state.v3 import Config as SetFilterState
from envoy_data_plane.envoy.extensions.filters.http.set_metadata.v3 import Config as SetMetadata
from envoy_data_plane.envoy.extensions.filters.http.set_metadata.v3 import Metadata
from envoy_data_plane.envoy.extensions.filters.listener.tls_inspector.v3 import TlsInspector
from envoy_data_plane.envoy.extensions.filters.network.echo.v3 import Echo
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpConnectionManager, HttpFilter
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher
from envoy_data_plane.google.protobuf import Struct

from demo.envoy_config import save
from demo.envoy_parts import file_access_log, listener, packed, server_tls, to_address
from demo.identities import TRUST_DOMAIN, TlsFiles
from demo.processes import Process, free_ports, start_envoy
from demo.rbac import HTTP_FILTER, network_filters, to_rules
from demo.rbac_matchers import PEER_KEY, Peer
from tests.e2e.policy_cases import CLAIMS, Case
from trainer.policies.policy import AuthorizationPolicy

FILTERS: Final = ("rbac.LOG", "rbac.DENY", "rbac.ALLOW")
_INSPECTED: Final = [ListenerFilter(name="envoy.filters.listener.tls_inspector", typed_config=packed(TlsInspector()))]
"""As istiod has it on inbound listeners; without it no server name is known to a filter."""
_SAID: Final = b"anybody there?"
_DYNAMIC = f"%DYNAMIC_METADATA({HTTP_FILTER}:"
_FIELDS: Final = {
    "id": "%REQ(X-ID)%",
    "path": "%REQ(:PATH)%",
    "host": "%REQ(:AUTHORITY)%",
    "status": "%RESPONSE_CODE%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "deny_result": _DYNAMIC + "istio_dry_run_deny_shadow_engine_result)%",
    "deny_rule": _DYNAMIC + "istio_dry_run_deny_shadow_effective_policy_id)%",
    "allow_result": _DYNAMIC + "istio_dry_run_allow_shadow_engine_result)%",
    "allow_rule": _DYNAMIC + "istio_dry_run_allow_shadow_effective_policy_id)%",
}


class Ports(NamedTuple):
    """Where the listeners are."""

    plain: int
    mutual: int
    token: int
    state: int


def start(
    directory: Path,
    ports: Ports,
    groups: Sequence[Sequence[AuthorizationPolicy]],
    network: Mapping[int, Sequence[AuthorizationPolicy]],
    files: TlsFiles,
) -> Process:
    """Start the Envoy: `groups` are met by the header's number, `network` by port."""
    by_certificate, by_state = _routes(groups, Peer.CERTIFICATE), _routes(groups, Peer.FILTER_STATE)
    log = directory / "access.jsonl"
    tls = server_tls(files, f"spiffe://{TRUST_DOMAIN}/")
    token = SetMetadata(
        metadata=[Metadata(metadata_namespace="envoy.filters.http.jwt_authn", value=Struct.from_dict({"payload": CLAIMS}))]
    )
    peer = FilterStateValue(
        object_key=PEER_KEY,
        factory_key="envoy.string",
        format_string=SubstitutionFormatString(
            text_format_source=DataSource(inline_string="%REQ(X-PEER)%"), omit_empty_values=True
        ),
        skip_if_empty=True,
    )
    state = SetFilterState(on_request_headers=[peer])
    listeners = [
        _http("plain", ports.plain, by_certificate, log, []),
        _http("mutual", ports.mutual, by_certificate, log, [], tls),
        _http("token", ports.token, by_certificate, log, [("set_metadata", token)], tls),
        _http("state", ports.state, by_state, log, [("set_filter_state", state)]),
        *(_network(port, policies, tls) for port, policies in network.items()),
    ]
    admin = free_ports(1)[0]
    bootstrap = Bootstrap(
        node=Node(id="policies", cluster="policies"),
        static_resources=BootstrapStaticResources(listeners=listeners),
        admin=Admin(address=to_address(f"127.0.0.1:{admin}")),
    )
    return start_envoy("policies", save(bootstrap, directory / "policies.pb"), admin, directory)


def _http(
    name: str, port: int, routes: RouteConfiguration, log: Path, before: Sequence[tuple[str, Any]], tls: Any = None
) -> Listener:
    filters = [HttpFilter(name=filter_name, typed_config=packed(config)) for filter_name, config in before]
    filters += [HttpFilter(name=filter_name, typed_config=packed(Rbac())) for filter_name in FILTERS]
    filters.append(HttpFilter(name="router", typed_config=packed(Router())))
    manager = HttpConnectionManager(
        stat_prefix=name,
        route_config=routes,
        http_filters=filters,
        access_log=[file_access_log(log, _FIELDS)],
        normalize_path=True,  # what Istio's BASE and DEFAULT set, and nothing else
    )
    made = listener(name, f"127.0.0.1:{port}", manager, tls)
    made.listener_filters = _INSPECTED
    return made


def _routes(groups: Sequence[Sequence[AuthorizationPolicy]], peer: Peer) -> RouteConfiguration:
    routes = []
    for number, policies in enumerate(groups):
        rules = {f"rbac.{found.action.name}": packed(RbacPerRoute(rbac=found.http)) for found in to_rules(policies, peer)}
        match = RouteMatch(prefix="/", headers=[HeaderMatcher(name="x-group", string_match=StringMatcher(exact=str(number)))])
        routes.append(Route(match=match, direct_response=DirectResponseAction(status=200), typed_per_filter_config=rules))
    return RouteConfiguration(name="groups", virtual_hosts=[VirtualHost(name="all", domains=["*"], routes=routes)])


def _network(port: int, policies: Sequence[AuthorizationPolicy], tls: Any) -> Listener:
    filters = [*network_filters(policies), Filter(name="envoy.filters.network.echo", typed_config=packed(Echo()))]
    chain = FilterChain(filters=filters, transport_socket=tls)
    return Listener(
        name=f"network-{port}",
        address=to_address(f"127.0.0.1:{port}"),
        filter_chains=[chain],
        listener_filters=_INSPECTED,
        enable_reuse_port=False,
    )


def client_context(files: TlsFiles) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(files.ca))
    context.check_hostname = False
    context.load_cert_chain(files.certificate, files.key)
    return context


@contextmanager
def connected(port: int, source: str, context: ssl.SSLContext | None, name: str) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=20, source_address=(source, 0)) as plain:
        if context is None:
            yield plain
        else:
            with context.wrap_socket(plain, server_hostname=name or None) as secure:
                yield secure


def ask(cases: Sequence[Case], context: ssl.SSLContext | None) -> None:
    """Send requests that share port, source, certificate and server name, on one connection while Envoy keeps it."""
    first, waiting = cases[0], deque(cases)
    while waiting:
        with connected(first.port, first.source, context, first.name) as connection:
            while waiting and _keeps(connection, waiting.popleft()):
                pass


def _keeps(connection: socket.socket, case: Case) -> bool:
    connection.sendall(_to_bytes(case))
    with http.client.HTTPResponse(connection, method=case.method) as answer:
        answer.begin()
        answer.read()
        return not answer.will_close


def _to_bytes(case: Case) -> bytes:
    lines = [f"{case.method} {case.target} HTTP/1.1", f"host: {case.host}", f"x-group: {case.group}", f"x-id: {case.id}"]
    lines += [f"x-color: {color}" for color in case.color]
    lines += [f"x-forwarded-for: {case.forwarded}"] if case.forwarded else []
    lines += [f"x-peer: {case.peer}"] if case.peer else []
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def alive(port: int, source: str, context: ssl.SSLContext | None, name: str) -> bool:
    """Connect to a network listener and say something; tell whether it comes back."""
    with connected(port, source, context, name) as connection:
        try:
            connection.sendall(_SAID)
            return connection.recv(64) == _SAID
        except (ConnectionError, ssl.SSLError):
            return False


def answers(directory: Path, count: int, seconds: float = 15.0) -> dict[int, dict[str, Any]]:
    """Wait until Envoy has logged so many requests; by their ids."""
    deadline = time.monotonic() + seconds
    while True:
        lines = (directory / "access.jsonl").read_bytes().splitlines(keepends=True)
        found = [json.loads(line) for line in lines if line.endswith(b"\n")]
        if len(found) >= count or time.monotonic() > deadline:
            return {int(line["id"]): line for line in found if line["id"] is not None}
        time.sleep(0.1)
