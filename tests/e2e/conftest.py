"""A bundle learned from real traffic through a real Envoy, and what most tests ask: one server that enforces, its Envoys.

Made once a session: certificates, the echo services, two Envoys (HTTP and gRPC) and the bundle. `make_server` and `make_proxy`
start further ones for one test.
"""

import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from demo.identities import Authority
from demo.processes import ROOT, Process, accepts, free_ports
from tests.e2e.echo import GRPC_METHOD, GRPC_SERVICE
from tests.e2e.parts import COOKIE, TALK, AuthzServer, Proxy, channel, environment, eventually, policy
from tests.e2e.small_mesh import SmallMesh, running
from tests.e2e.traffic import new_session, visit

VISITS = 200
TALKERS = 20
WORDS = 12
CLIENTS = 4


class Services(NamedTuple):
    """Where the echo services are, as host:port."""

    http: str
    grpc: str


@pytest.fixture(scope="session")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("e2e")


@pytest.fixture(scope="session")
def authority(directory: Path) -> Authority:
    return Authority(directory / "certificates")


@pytest.fixture(scope="session")
def services(directory: Path) -> Iterator[Services]:
    http_port, grpc_port = free_ports(2)
    command = [sys.executable, "-m", "tests.e2e.echo", "--http", str(http_port), "--grpc", str(grpc_port)]
    process = Process("echo", command, directory / "echo.log")
    try:
        process.wait_ready(accepts(http_port))
        process.wait_ready(accepts(grpc_port))
        yield Services(f"127.0.0.1:{http_port}", f"127.0.0.1:{grpc_port}")
    finally:
        process.stop()


@pytest.fixture(scope="session")
def authz_address() -> str:
    """Where first the server that records listens, then the one that enforces."""
    return f"127.0.0.1:{free_ports(1)[0]}"


@pytest.fixture(scope="session")
def proxy(directory: Path, authz_address: str, services: Services) -> Iterator[Proxy]:
    with Proxy(directory, authz_address, services.http) as started:
        yield started


@pytest.fixture(scope="session")
def grpc_proxy(directory: Path, authz_address: str, services: Services) -> Iterator[Proxy]:
    with Proxy(directory, authz_address, services.grpc, workload=TALK) as started:
        yield started


@pytest.fixture(scope="session")
def bundle(directory: Path, authz_address: str, proxy: Proxy, grpc_proxy: Proxy) -> Path:
    """Record what clients do behind real Envoys, and train on it."""
    recorder = directory / "recorder"
    recorder.mkdir()
    path = policy(recorder / "enforcement.yaml", "dry_run")
    with AuthzServer(recorder, listen=authz_address, policy=path, record=recorder / "store") as server:
        with ThreadPoolExecutor(CLIENTS) as clients:
            calls = sum(clients.map(lambda seed: _shop(proxy, seed), range(VISITS)))
            calls += sum(clients.map(lambda _: _talk(grpc_proxy), range(TALKERS)))
        eventually(lambda: server.metric("authz_outcomes_received_total") >= calls, 20)
    out = directory / "bundle"
    command = [sys.executable, "-m", "trainer", "train", "--store", str(recorder / "store"), "--out", str(out)]
    trained = subprocess.run(command, check=False, capture_output=True, text=True, env=environment(), cwd=ROOT)
    assert trained.returncode == 0, trained.stderr
    return out


def _shop(proxy: Proxy, seed: int) -> int:
    with proxy.client() as client:
        replies = [client.take(step) for step in visit(random.Random(seed))]
    assert {reply.status for reply in replies} == {200}
    return len(replies)


def _talk(proxy: Proxy) -> int:
    metadata = [("cookie", f"{COOKIE}={new_session()}")]
    with channel(proxy.address) as opened:
        say = opened.unary_unary(f"/{GRPC_SERVICE}/{GRPC_METHOD}")
        for number in range(WORDS):
            assert say(b"hello %d" % number, metadata=metadata, timeout=5) == b"hello %d" % number
    return WORDS


@pytest.fixture(scope="session")
def enforcing(directory: Path, authz_address: str, bundle: Path) -> Iterator[AuthzServer]:
    """The server that `proxy` and `grpc_proxy` ask: it enforces, and records."""
    place = directory / "enforcing"
    place.mkdir()
    path = policy(place / "enforcement.yaml")
    with AuthzServer(place, listen=authz_address, policy=path, bundle=bundle, record=place / "store") as server:
        yield server


@pytest.fixture(scope="session")
def small_mesh(directory: Path, authority: Authority, services: Services) -> Iterator[SmallMesh]:
    """A mesh that knows who calls whom and what must follow."""
    place = directory / "small_mesh"
    place.mkdir()
    with running(place, authority, services.http) as mesh:
        yield mesh


@pytest.fixture
def make_server(tmp_path: Path, bundle: Path) -> Iterator[Callable[..., AuthzServer]]:
    """Start a server for one test: with its policy's mode and defaults (or `workloads`), and `settings`, which are flags."""
    with ExitStack() as started:

        def make(mode: str = "enforce", settings: dict[str, object] | None = None, **defaults: Any) -> AuthzServer:
            path = policy(tmp_path / "enforcement.yaml", mode, **defaults)
            flags: dict[str, Any] = {"policy": path, "bundle": bundle, **(settings or {})}
            return started.enter_context(AuthzServer(tmp_path, **flags))

        yield make


@pytest.fixture
def make_proxy(tmp_path: Path, services: Services) -> Iterator[Callable[..., Proxy]]:
    """Start an Envoy in front of the HTTP service for one test: the server's address, then options of `Authz`."""
    with ExitStack() as started:

        def make(authz: str, **changes: Any) -> Proxy:
            return started.enter_context(Proxy(tmp_path, authz, services.http, **changes))

        yield make
