import logging
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from authz_server.engine.record import to_call_record
from authz_server.recorder import DropCause, Recorder
from authz_server.segment_name import SegmentKind
from authz_server.segments import SegmentWriter
from tests.authz_server.test_segments import file_size_limit, wait_until
from tests.factories import KEY_ID, call, outcome_record
from tests.factories_shell import verdict
from trainer.store import read_calls


def test_what_is_put_can_be_read_again(tmp_path: Path) -> None:
    recorder = Recorder(SegmentWriter(str(tmp_path), KEY_ID))
    recorder.start()
    recorder.put_call(call(), verdict(decision_id="d-7"))
    recorder.put_outcome(outcome_record(id="d-7", status=404))
    assert recorder.close()
    (read,) = read_calls(str(tmp_path))
    assert read.status == 404
    assert to_call_record(call(), verdict(decision_id="d-7")).parameters == read.parameters
    assert recorder.written == 2
    assert sum(recorder.dropped.values()) == 0


def test_records_are_on_disk_before_the_recorder_is_closed(tmp_path: Path) -> None:
    recorder = Recorder(SegmentWriter(str(tmp_path), KEY_ID), flush_seconds=0.05)
    recorder.start()
    recorder.put_call(call(), verdict())
    wait_until(lambda: len(list(read_calls(str(tmp_path)))) == 1, seconds=2)
    assert recorder.close()


def test_full_queue_drops_and_counts(tmp_path: Path) -> None:
    recorder = Recorder(SegmentWriter(str(tmp_path), KEY_ID), max_queue=2)
    for _ in range(5):
        recorder.put_call(call(), verdict())
    recorder.put_outcome(outcome_record())
    assert recorder.queue_depth == 2
    assert recorder.dropped[DropCause.QUEUE_FULL] == 4
    assert recorder.close()
    assert recorder.written == 2


def test_put_after_close_is_counted(tmp_path: Path) -> None:
    recorder = Recorder(SegmentWriter(str(tmp_path), KEY_ID))
    assert recorder.close()
    recorder.put_call(call(), verdict())
    recorder.put_outcome(outcome_record())
    assert recorder.dropped[DropCause.CLOSED] == 2


def test_record_that_cannot_be_encoded_costs_itself_only(tmp_path: Path) -> None:
    recorder = Recorder(SegmentWriter(str(tmp_path), KEY_ID))
    recorder.put_call(call(request_id="\udc80"), verdict(decision_id="d-1"))
    recorder.put_call(call(), verdict(decision_id="d-2"))
    assert recorder.close()
    assert [record.id for record in read_calls(str(tmp_path))] == ["d-2"]
    assert recorder.dropped[DropCause.ENCODING] == 1


def test_full_disk_is_told_once_and_costs_only_what_the_queue_cannot_hold(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    writer = SegmentWriter(str(tmp_path), KEY_ID)
    writer.write(SegmentKind.OUTCOMES, b"", 0)
    recorder = Recorder(writer, max_queue=3, flush_seconds=0.01)
    with file_size_limit(10):
        recorder.start()
        recorder.put_call(call(), verdict(decision_id="d-0"))
        wait_until(lambda: any(r.getMessage() == "recorder_write_failed" for r in caplog.records))
        for number in range(1, 6):
            recorder.put_call(call(), verdict(decision_id=f"d-{number}"))
        time.sleep(0.05)
        assert recorder.dropped[DropCause.DISK] == 2
        assert recorder.queue_depth == 4
    wait_until(lambda: recorder.written == 4)
    assert recorder.close()
    assert [record.id for record in read_calls(str(tmp_path))] == ["d-0", "d-1", "d-2", "d-3"]
    events = [r.getMessage() for r in caplog.records if r.getMessage().startswith("recorder")]
    assert events == ["recorder_write_failed", "recorder_write_recovered"]


def test_what_a_full_disk_never_took_is_counted_at_the_end(tmp_path: Path) -> None:
    recorder = Recorder(SegmentWriter(str(tmp_path), KEY_ID))
    recorder.put_call(call(), verdict())
    with file_size_limit(10):
        assert not recorder.close()
    assert recorder.dropped[DropCause.DISK] == 1


_WRITING = """
import sys, time
from authz_server.recorder import Recorder
from authz_server.segments import SegmentWriter
from tests.factories import KEY_ID, call
from tests.factories_shell import verdict
recorder = Recorder(SegmentWriter(sys.argv[1], KEY_ID, segment_bytes=1 << 18))
recorder.start()
recorded, decided = call(), verdict()
number = 0
while True:
    for _ in range(10):
        number += 1
        recorder.put_call(call(ts=time.time()), verdict(decision_id=str(number)))
    sys.stdout.write(f"{number} {time.time()}\\n")
    sys.stdout.flush()
    time.sleep(0.01)
"""


def test_kill_9_costs_at_most_the_last_second(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _WRITING, str(tmp_path)]
    here = Path(__file__).parents[2]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=here) as process:
        assert process.stdout is not None
        deadline = time.monotonic() + 3
        said = []
        for line in process.stdout:
            said.append(line.split())
            if time.monotonic() > deadline:
                break
        process.send_signal(signal.SIGKILL)
        killed = time.time()
        process.stdout.close()
    read = {int(record.id) for record in read_calls(str(tmp_path))}
    must = max(int(number) for number, at in said if float(at) < killed - 1)
    assert must > 100
    assert set(range(1, must + 1)) <= read
