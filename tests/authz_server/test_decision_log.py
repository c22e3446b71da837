import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz_server import decision_log
from authz_server.decision_log import DecisionLog, encode_line, to_line
from authz_server.engine.errors import SettingError
from authz_server.engine.policy import Mode
from authz_server.engine.verdict import Basis
from tests.factories_shell import deny, finding, verdict


def lines_of(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_line_tells_the_whole_decision() -> None:
    assert {
        "event": "decision",
        "ts": 1_750_000_000.5,
        "decision_id": "5f0c2a",
        "request_id": "r-1",
        "verdict": "deny",
        "basis": "judged",
        "mode": "enforce",
        "refused": True,
        "workload": "shop/cart",
        "endpoint": "POST /cart/{*}",
        "method": "POST",
        "path": "/cart/00",
        "caller": "cluster.local/ns/shop/sa/web",
        "session": "aabbccddeeff",
        "p_value": 1e-5,
        "score": 0.25,
        "budget": 0.001,
        "revision": "abc",
        "sample": 1.0,
        "findings": [
            {
                "code": "range",
                "text": "`count` was -1; in 48,211 calls it was an integer from 1 to 12",
                "seen": "-1",
                "normal": "an integer from 1 to 12",
                "evidence": 48211,
                "chance": 1e-5,
                "location": "body",
                "name": "/count",
            }
        ],
        "duration_us": 123.4,
    } == json.loads(encode_line(to_line(deny(), 123.4e-6)))


def test_a_would_be_deny_is_not_refused() -> None:
    assert not to_line(deny(mode=Mode.DRY_RUN), 0.0).refused


@given(st.text(max_size=50), st.floats(allow_nan=True), st.text(max_size=50))
def test_any_verdict_is_one_line(text: str, number: float, path: str) -> None:
    line = encode_line(to_line(deny(path=path, reasons=(finding(seen=text),), p_value=number, request_id=text), 1e-4))

    assert 1 == line.count(b"\n")
    assert path == json.loads(line)["path"]


def test_denies_and_failures_are_always_written_and_allows_by_their_share(tmp_path: Path) -> None:
    log = DecisionLog(str(tmp_path / "log"), sample=0.1)
    for i in range(2000):
        log.put(verdict(decision_id=f"allow-{i}"), 1e-4)
    log.put(deny(), 1e-4)
    log.put(deny(mode=Mode.DRY_RUN), 1e-4)
    log.put(verdict(basis=Basis.ERROR), 1e-4)
    log.close()

    lines = lines_of(tmp_path / "log")

    sampled = [line for line in lines if line["sample"] == 0.1]
    assert 140 < len(sampled) < 260
    assert {("allow", "judged")} == {(line["verdict"], line["basis"]) for line in sampled}
    assert ["deny", "deny", "allow"] == [line["verdict"] for line in lines if line["sample"] == 1.0]
    assert (len(lines), 2000 - len(sampled), 0, 0) == (log.written, log.sampled_out, log.dropped, log.failed)


def test_the_choice_depends_on_the_decision_id_alone(tmp_path: Path) -> None:
    chosen = []
    for name in ("a", "b"):
        log = DecisionLog(str(tmp_path / name), sample=0.2)
        for i in range(100) if name == "a" else reversed(range(100)):
            log.put(verdict(decision_id=f"id-{i}"), 1e-4)
        log.close()
        chosen.append({line["decision_id"] for line in lines_of(tmp_path / name)})

    assert chosen[0] == chosen[1] != set()


@pytest.mark.parametrize(("sample", "written"), [(0.0, 0), (1.0, 300)])
def test_a_share_of_none_or_all_is_exact(tmp_path: Path, sample: float, written: int) -> None:
    log = DecisionLog(str(tmp_path / "log"), sample)
    for i in range(300):
        log.put(verdict(decision_id=str(i)), 1e-4)
    log.close()

    assert (written, 300 - written) == (log.written, log.sampled_out)


def test_the_last_decisions_are_remembered_the_newest_first() -> None:
    log = DecisionLog(None, sample=0.0, keep=3)
    for i in range(4):
        log.put(verdict(decision_id=f"allow-{i}"), 1e-4)
    log.put(deny(decision_id="deny-0"), 1e-4)
    for i in range(4, 6):
        log.put(verdict(decision_id=f"allow-{i}"), 1e-4)

    assert ["allow-5", "allow-4", "deny-0"] == [line.decision_id for line in log.last(10)]
    assert ["allow-5"] == [line.decision_id for line in log.last(1)]
    assert [] == log.last(0) == log.last(-1)
    assert ["deny-0"] == [line.decision_id for line in log.last(10, denied=True)]
    assert [0.0, 1.0] == [line.sample for line in log.last(3)[1:]]
    assert (0, 0) == (log.depth, log.written)
    log.close()


def test_a_full_queue_is_counted_and_delays_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decision_log, "MAX_WAITING", 10)
    monkeypatch.setattr(decision_log, "_FLUSH_SECONDS", 60)
    log = DecisionLog(str(tmp_path / "log"))
    for _ in range(15):
        log.put(deny(), 1e-4)
    assert (10, 5) == (log.depth, log.dropped)

    log.close()

    assert 10 == len(lines_of(tmp_path / "log")) == log.written


def test_a_full_disk_is_counted_and_recovers(caplog: pytest.LogCaptureFixture) -> None:
    log = DecisionLog("/dev/full")
    log.put(deny(), 1e-4)
    wait_for(lambda: log.failed == 1)
    log.put(deny(), 1e-4)
    wait_for(lambda: log.failed == 2)
    log.close()

    assert 0 == log.written
    assert ["decision_log_failed"] == [record.message for record in caplog.records]


def test_a_target_that_cannot_be_opened_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="decision_log: expected a file that can be written"):
        DecisionLog(str(tmp_path / "no" / "such" / "directory" / "log"))


def test_what_was_there_is_kept(tmp_path: Path) -> None:
    for _ in range(2):
        log = DecisionLog(str(tmp_path / "log"))
        log.put(deny(), 1e-4)
        log.close()

    assert 2 == len(lines_of(tmp_path / "log"))


@pytest.mark.parametrize("signalled", [True, False])
def test_a_rotated_file_is_opened_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signalled: bool) -> None:
    if not signalled:
        monkeypatch.setattr(decision_log, "_ROTATION_SECONDS", 0.0)
    path = tmp_path / "log"
    log = DecisionLog(str(path))
    log.put(deny(decision_id="before"), 1e-4)
    wait_for(lambda: log.written == 1)
    path.rename(tmp_path / "log.1")
    if signalled:
        log.reopen()
    log.put(deny(decision_id="after"), 1e-4)
    log.close()

    assert (["before"], ["after"]) == (
        [line["decision_id"] for line in lines_of(tmp_path / "log.1")],
        [line["decision_id"] for line in lines_of(path)],
    )


def test_standard_output_gets_the_lines(capfd: pytest.CaptureFixture[str]) -> None:
    log = DecisionLog("-")
    log.put(deny(), 1e-4)
    log.close()

    assert "deny" == json.loads(capfd.readouterr().out)["verdict"]


def test_a_line_after_a_torn_one_starts_afresh(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = DecisionLog(str(path))
    os.write(log._descriptor, b'{"torn":')
    log._torn = True
    log.put(deny(), 1e-4)
    log.close()

    assert "decision" == json.loads(path.read_text().splitlines()[-1])["event"]


def test_nothing_is_raised_on_the_request_path_for_a_strange_id() -> None:
    log = DecisionLog(None)
    log.put(verdict(decision_id="\ud800"), 1e-4)
    log.put(verdict(decision_id=""), 1e-4)

    assert 2 == len(log.last(5))
    log.close()
