"""Logging in, over TLS and without: what works, and what is said where it doesn't.

The wheels' servers have no TLS. One that has is tested where it is found on the PATH; everywhere, a real Redis behind something
that ends TLS, as stunnel does.
"""

import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from authz_server.engine.errors import SettingError
from authz_server.histories.redis_connector import connector
from authz_server.histories.redis_fault import EXPECTED, Fault, HistoryFault, of_reply
from authz_server.histories.redis_histories import RedisHistories
from authz_server.histories.redis_scripts import PERMISSIONS
from authz_server.histories.visit import Visit, join_key
from demo.identities import Authority, Identity, TlsFiles
from demo.processes import ROOT, Process, accepts, free_ports
from demo.redis_server import Kind, RedisServer

SECONDS = 5.0
USER = ("mesh", "p@ss")
LOGIN = "mesh:p%40ss@"


class Tls:
    """A server that speaks TLS only, for a user with a password; `url` adds who asks, for what and under which options."""

    def __init__(self, port: int, ours: TlsFiles, directory: Path) -> None:
        self.port, self.ours, self.directory = port, ours, directory

    def url(
        self,
        login: str = LOGIN,
        path: str = "/0",
        host: str = "localhost",
        scheme: str = "rediss",
        options: Mapping[str, Path | str] | None = None,
    ) -> str:
        query = "&".join(f"{name}={value}" for name, value in (options or {}).items())
        return f"{scheme}://{login}{host}:{self.port}{path}{'?' if query else ''}{query}"

    @property
    def mutual(self) -> dict[str, Path | str]:
        return {"ssl_ca_certs": self.ours.ca, "ssl_certfile": self.ours.certificate, "ssl_keyfile": self.ours.key}


def acl(directory: Path) -> dict[str, str]:
    path = directory / "users.acl"
    path.write_text(f"user default off\nuser {USER[0]} on >{USER[1]} {PERMISSIONS} -@dangerous +info\n")
    return {"aclfile": str(path)}


@contextmanager
def behind_tls(directory: Path, theirs: TlsFiles) -> Iterator[int]:
    """A real Redis behind something that ends TLS and wants a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(theirs.certificate, theirs.key)
    context.load_verify_locations(theirs.ca)
    context.verify_mode = ssl.CERT_REQUIRED
    with RedisServer(Kind.REDIS, directory, acl(directory)) as server, socket.create_server(("127.0.0.1", 0)) as listener:

        def pump(source: socket.socket, sink: socket.socket) -> None:
            with suppress(OSError):
                while data := source.recv(65536):
                    sink.sendall(data)
            with suppress(OSError):
                sink.shutdown(socket.SHUT_RDWR)

        def serve(accepted: socket.socket) -> None:
            with ExitStack() as opened, suppress(OSError):
                opened.enter_context(accepted)
                outside = opened.enter_context(context.wrap_socket(accepted, server_side=True))
                inside = opened.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=SECONDS))
                inside.settimeout(None)
                back = threading.Thread(target=pump, args=(inside, outside), daemon=True)
                back.start()
                pump(outside, inside)
                back.join(SECONDS)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(SECONDS)


@contextmanager
def with_tls(directory: Path, theirs: TlsFiles) -> Iterator[int]:
    """A redis-server of this machine that speaks TLS itself."""
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip("no redis-server with TLS on the PATH (Debian's has it)")
    [port] = free_ports(1)
    options = {
        "port": "0",
        "tls-port": str(port),
        "tls-auth-clients": "yes",
        "save": '""',
        "dir": str(directory),
        **acl(directory),
    }
    options |= {"bind": "127.0.0.1", "tls-cert-file": str(theirs.certificate), "tls-key-file": str(theirs.key)}
    options |= {"tls-ca-cert-file": str(theirs.ca)}
    path = directory / "tls.conf"
    path.write_text("".join(f"{name} {value}\n" for name, value in options.items()))
    process = Process("redis", [binary, str(path)], directory / "tls.log")
    try:
        process.wait_ready(accepts(port))
        yield port
    finally:
        process.stop()


@pytest.fixture(scope="module", params=[behind_tls, with_tls])
def tls(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tls]:
    directory = tmp_path_factory.mktemp("tls")
    authority = Authority(directory / "ca")
    theirs, ours = authority.issue(Identity("store", "redis"), addresses=()), authority.issue(Identity("mesh", "authz"))
    with request.param(directory, theirs) as port:
        yield Tls(port, ours, directory)


@pytest.fixture(scope="module", params=list(Kind))
def plain(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    directory = tmp_path_factory.mktemp("plain")
    with RedisServer(request.param, directory, acl(directory)) as server:
        yield server


def fault(url: str) -> Fault:
    with pytest.raises(HistoryFault) as found:
        connector(url, SECONDS)(0)
    return found.value.fault


def visit(number: int, endpoint: str) -> Visit:
    return Visit(f"d-{number}", 10.0, "shop/shop", "s", endpoint, join_key(f"r-{number}", "shop/shop", "POST"))


def test_histories_are_kept_over_tls_for_a_user_with_a_certificate_and_a_password(tls: Tls) -> None:
    with RedisHistories(tls.url(options=tls.mutual), SECONDS, 2, "a", 0.0) as histories:
        histories.visit(visit(1, "POST /cart"))
        found = histories.visit(visit(2, "POST /pay"))
        assert (("POST /cart",), {}, False) == (found.recent, histories.faults, histories.degraded)


def test_over_tls_each_thing_that_is_wrong_has_its_name(tls: Tls) -> None:
    other = Authority(tls.directory / "other")
    stranger = other.issue(Identity("mesh", "stranger"))
    trusted: dict[str, Path | str] = {"ssl_ca_certs": tls.ours.ca}
    strange = {"ssl_certfile": stranger.certificate, "ssl_keyfile": stranger.key}
    found = {
        "another CA": fault(tls.url(options={**tls.mutual, "ssl_ca_certs": other.ca})),
        "no CA but the system's": fault(tls.url(options={**tls.mutual, "ssl_ca_certs": ""})),
        "another host's name": fault(tls.url(host="127.0.0.1", options=tls.mutual)),
        "no certificate": fault(tls.url(options=trusted)),
        "a stranger's certificate": fault(tls.url(options={**trusted, **strange})),
        "another password": fault(tls.url("mesh:other@", options=tls.mutual)),
        "nobody": fault(tls.url("", options=tls.mutual)),
        "no such database": fault(tls.url(path="/99", options=tls.mutual)),
    }
    expected = dict.fromkeys(list(found)[:5], Fault.TLS)
    expected |= {"another password": Fault.CREDENTIALS, "nobody": Fault.CREDENTIALS, "no such database": Fault.DATABASE}
    assert expected == found
    assert fault(f"redis://{LOGIN}localhost:{tls.port}/0") in (Fault.CONNECTION, Fault.TIMEOUT)


def test_without_tls_each_thing_that_is_wrong_has_its_name(plain: RedisServer) -> None:
    at = f"127.0.0.1:{plain.port}"
    urls = ["mesh:other@", "other:p%40ss@", ":p%40ss@", ""]
    assert [Fault.CREDENTIALS] * 4 == [fault(f"redis://{login}{at}/0") for login in urls]
    assert [Fault.DATABASE, Fault.TLS] == [fault(f"redis://{LOGIN}{at}/99"), fault(f"rediss://{LOGIN}{at}/0")]


def test_certificates_that_cannot_be_read_are_all_named_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(SettingError) as refused:
        connector(f"rediss://cache?ssl_ca_certs={tmp_path}/ca.pem&ssl_certfile={tmp_path}/c.pem&ssl_keyfile={tmp_path}", SECONDS)
    starts = [problem.partition(": expected a file that can be read")[0] for problem in refused.value.problems]
    assert ["history: ssl_ca_certs", "history: ssl_certfile", "history: ssl_keyfile"] == starts


@pytest.mark.parametrize("kind", list(Kind))
def test_a_wrong_password_is_logged_with_what_was_expected(tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: Kind) -> None:
    with RedisServer(kind, tmp_path, acl(tmp_path)) as server, ExitStack() as started:
        started.enter_context(RedisHistories(f"redis://mesh:hunter2@127.0.0.1:{server.port}/0", SECONDS, 1, "a"))
        [record] = [one for one in caplog.records if one.message == "history_degraded"]
        assert {"fault": Fault.CREDENTIALS, "expected": EXPECTED[Fault.CREDENTIALS]} == record.__dict__["fields"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("WRONGPASS invalid username-password pair or user is disabled.", Fault.CREDENTIALS),
        ("NOAUTH Authentication required.", Fault.CREDENTIALS),
        ("ERR DB index is out of range", Fault.DATABASE),
        ("MOVED 3999 127.0.0.1:6381", Fault.CLUSTER),
        ("CLUSTERDOWN Hash slot not served", Fault.CLUSTER),
        ("OOM command not allowed when used memory > 'maxmemory'.", Fault.MEMORY),
        ("NOPERM this user has no permissions to run the 'mget' command", Fault.PERMISSION),
        ("LOADING Redis is loading the dataset in memory", Fault.REFUSED),
        ("READONLY You can't write against a read only replica.", Fault.REFUSED),
    ],
)
def test_what_redis_answers_is_told_apart(text: str, expected: Fault) -> None:
    assert expected == of_reply(text)


def test_every_fault_says_what_would_have_been_right() -> None:
    assert set(Fault) == EXPECTED.keys()


def test_the_server_does_not_start_on_a_node_of_a_cluster(tmp_path: Path, run_server: Callable[..., tuple[int, str]]) -> None:
    with RedisServer(Kind.VALKEY, tmp_path, {"cluster-enabled": "yes"}) as server:
        code, text = run_server("--history", server.url)
    assert (2, True) == (code, "history: expected a Redis or Valkey that is not in cluster mode" in text)


@pytest.fixture
def run_server(tmp_path: Path) -> Callable[..., tuple[int, str]]:
    def run(*flags: str) -> tuple[int, str]:
        command = [
            sys.executable,
            "-m",
            "authz_server",
            "serve",
            "--listen",
            f"unix:{tmp_path}/s.sock",
            "--admin=",
            "--policy=",
            *flags,
        ]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout + done.stderr

    return run
