"""How a connection to Redis is made, and what it needs."""

import subprocess
import sys

import pytest

from authz_server.engine.errors import SettingError
from authz_server.histories.history_url import is_history_url, to_redis_url
from authz_server.histories.redis_connector import connector
from authz_server.histories.redis_fault import Fault, HistoryFault
from demo.processes import ROOT, free_ports


def test_the_server_does_not_import_redis_unless_asked() -> None:
    code = "import sys, authz_server.server; sys.exit('redis' in sys.modules or 'hiredis' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, timeout=60).returncode == 0


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(SettingError) as refused:
        connector("redis://cache", 0.05)
    assert "pip install 'meshwarden[redis]'" in refused.value.problems[0]


def test_options_that_mean_nothing_are_refused_without_the_password() -> None:
    with pytest.raises(SettingError) as refused:
        connector("rediss://user:hunter2@cache?ssl_cert_reqs=perhaps", 0.05)
    assert "hunter2" not in str(refused.value)


def test_nobody_there_is_a_fault_of_the_connection() -> None:
    with pytest.raises(HistoryFault) as fault:
        connector(f"redis://127.0.0.1:{free_ports(1)[0]}", 0.05)(0)
    assert fault.value.fault is Fault.CONNECTION


@pytest.mark.parametrize(
    ("url", "known"),
    [
        ("redis://cache", "redis://cache"),
        ("valkey://mesh:p%40ss@cache:6380/3", "redis://mesh:p%40ss@cache:6380/3"),
        ("VALKEYS://cache?ssl_ca_certs=/etc/ca.pem", "rediss://cache?ssl_ca_certs=/etc/ca.pem"),
        ("unix:///run/redis.sock?db=1", "unix:///run/redis.sock?db=1"),
        ("redis://[::1]:6379/0", "redis://[::1]:6379/0"),
    ],
)
def test_a_url_is_understood_and_spelt_as_the_package_knows_it(url: str, known: str) -> None:
    assert (True, known) == (is_history_url(url), to_redis_url(url))


def test_connecting_is_tried_however_often_it_failed() -> None:
    connect = connector(f"redis://127.0.0.1:{free_ports(1)[0]}", 0.05)
    for _ in range(150):
        with pytest.raises(HistoryFault):
            connect(0)
