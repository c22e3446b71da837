"""A mesh of two services and a database behind real Envoys with mutual TLS, and a server that has learned its past.

`front` takes logins and orders and has every order audited, unless a test makes it skip that; `database` is bytes on a port.
"""

import http.client
import ssl
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

from demo.identities import Authority, Identity
from demo.processes import free_ports
from tests.e2e.parts import USER_AGENT, AuthzServer, Proxy, Reply, policy
from tests.e2e.past import AUDIT, DATABASE, FRONT, learned
from tests.e2e.tcp_proxy import TcpProxy

QUARANTINE_SECONDS = 30


class FrontService:
    """The service behind front's Envoy, in a thread; any login will do. While `skips`, orders aren't audited."""

    def __init__(self, audit_port: int, tls: ssl.SSLContext) -> None:
        self.skips = False
        front = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 60

            def do_GET(self) -> None:
                self._reply()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.path == "/orders" and not front.skips:
                    front.audit(body, self.headers["x-request-id"], self.headers["cookie"])
                self._reply()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

            def _reply(self) -> None:
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

        self._audit_port = audit_port
        self._tls = tls
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_port}"

    def audit(self, body: bytes, request_id: str, cookie: str) -> None:
        """Record an order; who can't be audited isn't served."""
        headers = {"content-type": "application/json", "user-agent": USER_AGENT, "x-request-id": request_id, "cookie": cookie}
        connection = http.client.HTTPSConnection("127.0.0.1", self._audit_port, timeout=10, context=self._tls)
        try:
            connection.request("POST", "/records", body, headers)
            with connection.getresponse() as answer:
                assert answer.status == 200, f"audit answered {answer.status}"
        finally:
            connection.close()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


class SmallMesh(NamedTuple):
    """What runs, and how to call it as somebody: with the certificate of an Identity."""

    authority: Authority
    server: AuthzServer
    service: FrontService
    front: Proxy
    audit: Proxy
    database: TcpProxy

    def call(
        self, source: Identity, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Make one request to front, of a new session unless a cookie says otherwise."""
        with self.front.client(to_context(self.authority, source)) as client:
            return client.call(method, path, body, headers)

    def decision(self, reply: Reply, proxy: Proxy | None = None) -> dict[str, Any]:
        """The decision on a request, whatever it was."""
        return self.server.decision((proxy or self.front).logged(reply.request_id)["decision_id"])


def to_context(authority: Authority, identity: Identity) -> ssl.SSLContext:
    """Make what a client shows who it is with."""
    files = authority.issue(identity)
    context = ssl.create_default_context(cafile=str(authority.ca))
    context.load_cert_chain(files.certificate, files.key)
    return context


@contextmanager
def running(directory: Path, authority: Authority, echo: str) -> Iterator[SmallMesh]:
    """Learn the past, and start everything; `echo` is a service that answers anything with 200."""
    (port,) = free_ports(1)
    with ExitStack() as started:
        bundle = learned(directory / "bundle", port)
        endpoints = {"POST /login": {"mode": "dry_run"}}
        path = policy(
            directory / "enforcement.yaml", quarantine=QUARANTINE_SECONDS, workloads={"shop/front": {"endpoints": endpoints}}
        )
        server = started.enter_context(AuthzServer(directory, policy=path, bundle=bundle))
        audit = started.enter_context(Proxy(directory, server.listen, echo, inbound=authority.issue(AUDIT)))
        service = FrontService(audit.port, to_context(authority, FRONT))
        started.callback(service.stop)
        front = started.enter_context(Proxy(directory, server.listen, service.address, inbound=authority.issue(FRONT)))
        database = started.enter_context(TcpProxy(directory, server.listen, echo, port=port, inbound=authority.issue(DATABASE)))
        yield SmallMesh(authority, server, service, front, audit, database)
