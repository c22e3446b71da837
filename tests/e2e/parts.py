"""What an end-to-end test puts together: our server and a real Envoy as processes, and their clients. Nothing here is a stand-in.

with AuthzServer(directory, policy=path, bundle=path) as server, Proxy(directory, server.listen, service) as proxy:
    assert proxy.call("GET", "/items/1007").status == 200
"""

import http.client
import json
import os
import signal
import ssl
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar
from urllib.error import HTTPError

import grpc
import yaml
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest
from envoy.service.auth.v3.external_auth_pb2_grpc import AuthorizationStub
from envoy_data_plane.envoy.config.bootstrap.v3 import Bootstrap
from prometheus_client.parser import text_string_to_metric_families

from authz_server.engine.record import CallRecord
from demo.envoy_config import Authz, Inbound, Sidecar, save, sidecar
from demo.identities import TlsFiles
from demo.processes import Process, answers, free_ports, start_envoy
from tests.e2e.traffic import Step, new_session
from trainer.store import read_calls

HASH_KEY = "the hash key of the tests"
SHOP = "shop/shop"
TALK = "shop/talk"
COOKIE = "sid"
USER_AGENT = "shop-app/1.0"
MAX_REQUEST_BYTES = 2048
ERROR_STATUS = 511
"""What Envoy answers when it has no answer of ours and doesn't let the call pass: told apart from all that anybody else says."""

Value = TypeVar("Value")


def eventually(look: Callable[[], Value], seconds: float = 5.0) -> Value:
    """Look until there is something to be seen."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"{look} saw nothing in {seconds:g} s"
        time.sleep(0.02)
    return found


def policy(path: Path, mode: str = "enforce", *, workloads: Mapping[str, object] | None = None, **defaults: object) -> Path:
    """Write a policy; the budget suits the few calls that the tests' bundle is made of."""
    values = {"mode": mode, "budget": 0.01, "session": [{"cookie": COOKIE}], **defaults}
    document = yaml.safe_dump({"version": 1, "defaults": values, "workloads": dict(workloads or {})})
    arriving = path.with_suffix(".arriving")
    arriving.write_text(document)
    arriving.rename(path)
    return path


class Reply(NamedTuple):
    """An HTTP answer; header names in lower case. `request_id` is what logs know the request by."""

    status: int
    headers: dict[str, str]
    body: bytes
    request_id: str = ""

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def decision_id(self) -> str:
        return self.headers.get("x-authz-decision-id", "")


class AuthzServer:
    """`python -m authz_server serve` as a process, from `start` to `stop`; `settings` are flags, None leaves one out.

    Decisions are all logged, to `decisions.jsonl`; files are looked at ten times a second; Envoys are not waited for at the end.
    """

    def __init__(self, directory: Path, *, listen: str | None = None, **settings: object) -> None:
        port, admin = free_ports(2)
        self.directory = directory
        self.listen = listen or f"127.0.0.1:{port}"
        self.admin = f"127.0.0.1:{admin}"
        self.decision_log = directory / "decisions.jsonl"
        usual = {"decision_log": self.decision_log, "decision_log_sample": 1, "watch_seconds": 0.1, "grace_seconds": 0.1}
        self._settings = {"listen": self.listen, "admin": self.admin, **usual, **settings}
        self._process: Process | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def process(self) -> Process:
        assert self._process is not None
        return self._process

    def start(self) -> None:
        self._process = Process("authz_server", self.command(), self.directory / "authz_server.log", environment())
        try:
            self._process.wait_ready(answers(f"http://{self.admin}/readyz"))
        except BaseException:
            self._process.kill()
            raise

    def command(self) -> list[str]:
        flags = [(f"--{name.replace('_', '-')}", str(value)) for name, value in self._settings.items() if value is not None]
        return [sys.executable, "-m", "authz_server", "serve", *[word for flag in flags for word in flag]]

    def stop(self) -> int:
        if self._process is None:
            return 0
        self.signal(signal.SIGCONT)
        return self._process.stop()

    def signal(self, number: signal.Signals) -> None:
        if self.process.running:
            os.kill(self.process.pid, number)

    def get(self, path: str) -> Reply:
        """Read a page of the admin address, whatever its status."""
        try:
            with urllib.request.urlopen(f"http://{self.admin}{path}", timeout=5) as answer:
                return Reply(answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read())
        except HTTPError as error:
            with error:
                return Reply(error.code, {k.lower(): v for k, v in error.headers.items()}, error.read())

    def metric(self, name: str, **labels: str) -> float:
        """Add up the samples of a metric that have these labels."""
        families = text_string_to_metric_families(self.get("/metrics").body.decode())
        samples = [sample for family in families for sample in family.samples if sample.name == name]
        return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())

    @property
    def store(self) -> str:
        """Where it records."""
        return str(self._settings["record"])

    def recorded(self, decision_id: str) -> CallRecord:
        """Wait until a call and its outcome are in the store."""
        return eventually(lambda: [call for call in read_calls(self.store) if call.id == decision_id and call.status])[0]

    def decided(self) -> list[dict[str, Any]]:
        """The lines of the decision log."""
        return read_lines(self.decision_log)

    def decision(self, decision_id: str) -> dict[str, Any]:
        """Wait for one decision's line."""
        return eventually(lambda: [line for line in self.decided() if line["decision_id"] == decision_id])[0]

    @contextmanager
    def stub(self, credentials: grpc.ChannelCredentials | None = None) -> Iterator[Any]:
        """Ask as Envoy does, but with any CheckRequest."""
        with channel(self.listen, credentials) as opened:
            yield AuthorizationStub(opened)


@contextmanager
def channel(address: str, credentials: grpc.ChannelCredentials | None = None) -> Iterator[grpc.Channel]:
    """Open a channel of its own: gRPC would share one connection between all to the same address."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0), ("grpc.primary_user_agent", USER_AGENT)]
    opened = (
        grpc.insecure_channel(address, options) if credentials is None else grpc.secure_channel(address, credentials, options)
    )
    with opened:
        yield opened


def environment() -> dict[str, str]:
    """The secrets, which don't go on the command line."""
    return {"AUTHZ_HASH_KEY": HASH_KEY, "TRAINER_HASH_KEY": HASH_KEY}


class Client:
    """One connection to Envoy that stays open; not for two threads."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self.session = new_session()
        self._connection = (
            http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            if tls is None
            else http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=tls)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._connection.close()

    def call(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Reply:
        """Make one request; `body` goes as JSON, bytes go as they are."""
        request_id = str(uuid.uuid4())
        sent = {"user-agent": USER_AGENT, "cookie": f"{COOKIE}={self.session}", "x-request-id": request_id}
        if body is not None:
            sent["content-type"] = "application/json"
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        self._connection.request(method, path, data, sent | dict(headers or {}))
        with self._connection.getresponse() as answer:
            return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read(), request_id)

    def take(self, step: Step) -> Reply:
        return self.call(step.method, step.path, step.body)


class Proxy:
    """A real Envoy in front of `service` (host:port) that asks the server at `authz`; `changes` are those of `Authz`.

    `inbound` turns on mutual TLS with clients. `change` is applied to its configuration at last.
    """

    def __init__(
        self,
        directory: Path,
        authz: str,
        service: str,
        *,
        workload: str = SHOP,
        inbound: TlsFiles | None = None,
        change: Callable[[Bootstrap], Bootstrap] = lambda bootstrap: bootstrap,
        **changes: Any,
    ) -> None:
        self.port, self._admin = free_ports(2)
        self._access_log = directory / f"access-{self.port}.jsonl"
        usual: dict[str, Any] = {
            "max_request_bytes": MAX_REQUEST_BYTES,
            "timeout": 2.0,
            "failure_mode_allow": False,
            "status_on_error": ERROR_STATUS,
            "context_extensions": {"workload": workload},
            "access_log_flush": 0.05,
        }
        options = Sidecar(
            name=f"envoy-{self.port}",
            admin_port=self._admin,
            inbound=Inbound(self.port, service, inbound, http2_service=workload == TALK),
            authz=Authz(authz, **usual | changes),
            access_log=self._access_log,
        )
        bootstrap = save(change(sidecar(options)), directory / f"{options.name}.pb")
        self._process = start_envoy(options.name, bootstrap, self._admin, directory, wait=False)

    def __enter__(self) -> Self:
        try:
            self._process.wait_ready(answers(f"http://127.0.0.1:{self._admin}/ready"))
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        self._process.stop()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def client(self, tls: ssl.SSLContext | None = None) -> Client:
        return Client(self.port, tls)

    def call(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Reply:
        """Make one request of a new session on a new connection."""
        with self.client() as client:
            return client.call(method, path, body, headers)

    def take(self, step: Step) -> Reply:
        return self.call(*step)

    def access_log(self) -> list[dict[str, Any]]:
        return read_lines(self._access_log)

    def logged(self, request_id: str) -> dict[str, Any]:
        """Wait for the access log line of a request."""
        return eventually(lambda: [line for line in self.access_log() if line["request_id"] == request_id])[0]

    def stat(self, name: str) -> int:
        """One of Envoy's counters of the filter, by the end of its name: `ok`, `denied`, `error`, `failure_mode_allowed`."""
        url = f"http://127.0.0.1:{self._admin}/stats?format=json&filter=^http.inbound.ext_authz.{name}$"
        with urllib.request.urlopen(url, timeout=5) as answer:
            found: Sequence[dict[str, int]] = json.load(answer)["stats"]
        return sum(stat.get("value", 0) for stat in found)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read the whole lines of a file that may still be written."""
    text = path.read_bytes() if path.exists() else b""
    return [json.loads(line) for line in text[: text.rfind(b"\n") + 1].splitlines()]


def check_request(
    method: str = "GET",
    path: str = "/items/1007",
    *,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    workload: str = SHOP,
    session: str = "",
) -> CheckRequest:
    """Ask as the tests' Envoys do for a client of theirs."""
    request = CheckRequest()
    attributes = request.attributes
    attributes.source.address.socket_address.address = "127.0.0.1"
    attributes.context_extensions["workload"] = workload
    now = time.time()
    attributes.request.time.seconds, attributes.request.time.nanos = int(now), int(now % 1 * 1e9)
    http_request = attributes.request.http
    http_request.method, http_request.path, http_request.host = method, path, "shop.test"
    sent = {":authority": "shop.test", ":method": method, ":path": path, "user-agent": USER_AGENT, "accept-encoding": "identity"}
    sent["cookie"] = f"{COOKIE}={session or new_session()}"
    if body:
        sent["content-type"] = "application/json"
    http_request.headers.update(sent | dict(headers or {}))
    http_request.raw_body, http_request.size = body, len(body)
    return request
