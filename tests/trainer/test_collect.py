import asyncio
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage
from envoy.service.accesslog.v3.als_pb2_grpc import AccessLogServiceStub

from authz_server.engine.errors import SettingError, StoreError
from authz_server.engine.observe import Observer
from authz_server.engine.policy import Enforcement, Rule
from tests.factories import KEY_ID
from tests.trainer.test_access_log_entry import entry
from trainer.collect import Collector, collect, run_collector
from trainer.store import read_calls
from trainer.store_writer import StoreWriter

MIRRORED = (
    b"POST /cart?n=1 HTTP/1.1\r\nhost: cart.shop-shadow\r\nx-request-id: r-1\r\ncontent-type: application/json\r\n"
    b'content-length: 9\r\n\r\n{"n": 17}'
)


@contextmanager
def running(command: list[str]) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process and its first line; it never outlives the test, whatever happens in it."""
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            yield process, process.stderr.readline()
        finally:
            process.kill()


def send_entries(port: int, *request_ids: str) -> None:
    message = StreamAccessLogsMessage()
    for request_id in request_ids:
        made = entry()
        made.request.request_id = request_id
        message.http_logs.log_entry.append(made)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        AccessLogServiceStub(channel).StreamAccessLogs(iter([message]))


def send_request(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(MIRRORED)
        assert connection.recv(100).startswith(b"HTTP/1.1 200 OK")


def test_both_halves_of_a_call_become_one_record(tmp_path: Path) -> None:
    async def run(writer: StoreWriter) -> None:
        collector = Collector(writer, Observer(), Enforcement(Rule(), {}), 5.0)
        stop, ports = asyncio.Event(), asyncio.Future[tuple[int, int]]()
        serving = asyncio.create_task(
            run_collector(
                collector,
                "127.0.0.1:0",
                "127.0.0.1:0",
                stop,
                lambda grpc_port, http: ports.set_result((grpc_port or 0, http or 0)),
            )
        )
        log_port, mirror_port = await ports
        await asyncio.to_thread(send_request, mirror_port)
        await asyncio.to_thread(send_entries, log_port, "r-1", "r-2")
        stop.set()
        await serving
        assert (2, 1, 1, 2, 0) == (
            *(collector.collected.entries, collector.collected.requests, collector.collected.pairs),
            *(collector.collected.written, collector.collected.failed),
        )

    with StoreWriter(str(tmp_path), KEY_ID) as writer:
        asyncio.run(run(writer))
    paired, alone = read_calls(str(tmp_path))
    assert ("shop/cart", "td/ns/shop/sa/web", 201, "json") == (paired.workload, paired.principal, paired.status, paired.body)
    assert "body:/n" in [seen.key for seen in paired.parameters]
    assert ("r-2", 201, "truncated") == (alone.request_id, alone.status, alone.body)


def test_late_entry_is_stored_as_outcome_of_its_call(tmp_path: Path) -> None:
    with StoreWriter(str(tmp_path), KEY_ID) as writer:
        collector = Collector(writer, Observer(), Enforcement(Rule(), {}), 5.0)

        async def run() -> None:
            port = await collector.mirror.start("127.0.0.1", 0)
            await asyncio.to_thread(send_request, port)
            await collector.mirror.close()

        asyncio.run(run())
        collector.write(1e12)
        late = entry()
        late.common_properties.start_time.seconds = int(next(read_calls(str(tmp_path))).ts)
        collector.take_entry(late, 2e12)
    (call,) = read_calls(str(tmp_path))
    assert 201 == call.status


def test_stream_that_envoy_keeps_open_does_not_keep_it_alive(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "trainer", "collect", "--store", str(tmp_path), "--listen", "127.0.0.1:0"]
    over = threading.Event()

    def messages() -> Iterator[StreamAccessLogsMessage]:
        message = StreamAccessLogsMessage()
        message.http_logs.log_entry.append(entry())
        yield message
        over.wait(30)

    with running(command) as (process, line):
        (port,) = [int(found) for found in re.findall(r"port (\d+)", line)]
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            answer = AccessLogServiceStub(channel).StreamAccessLogs.future(messages())
            time.sleep(0.5)
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=20)
            over.set()
            answer.cancel()
    assert 0 == process.returncode, said
    assert ["collected 1 calls from 1 access log entries and 0 mirrored requests; 0 had both"] == said.splitlines()
    assert ["r-1"] == [call.request_id for call in read_calls(str(tmp_path))]


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_it_with_everything_stored(tmp_path: Path, stop: signal.Signals) -> None:
    command = [sys.executable, "-m", "trainer", "collect", "--store", str(tmp_path), "--mirror", "127.0.0.1:0"]
    with running(command) as (process, line):
        send_request(int(line.split()[-1]))
        process.send_signal(stop)
        _, said = process.communicate(timeout=20)
    assert 0 == process.returncode, said
    assert ["r-1"] == [call.request_id for call in read_calls(str(tmp_path), key_id=Observer("").key_id)]
    assert [".gz"] == [path.suffix for path in tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("listen", "mirror", "expected"),
    [
        (None, None, "nothing to collect from"),
        ("127.0.0.1:99999", None, "--listen: expected HOST:PORT"),
        (None, "127.0.0.1", "--mirror: expected HOST:PORT"),
        (None, "192.0.2.1:1", "--mirror: expected an address that is free"),
        ("192.0.2.1:1", None, "--listen: expected an address that is free"),
    ],
)
def test_address_that_cannot_be_had_is_an_error(tmp_path: Path, listen: str | None, mirror: str | None, expected: str) -> None:
    with pytest.raises(SettingError, match=expected):
        collect(listen, mirror, str(tmp_path), Observer(), Enforcement(Rule(), {}))


def test_store_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError):
        collect("127.0.0.1:0", None, str(tmp_path / "file"), Observer(), Enforcement(Rule(), {}))
