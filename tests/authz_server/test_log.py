import json
import logging
import os
from collections.abc import Iterator

import pytest

from authz_server import log
from authz_server.engine.errors import PolicyError
from authz_server.log import JsonFormatter, StateLog, StderrHandler, configure


def formatted(**attributes: object) -> dict[str, object]:
    record = logging.makeLogRecord({"levelname": "INFO", "name": "authz", "msg": "started", "created": 12.3456789, **attributes})
    line: dict[str, object] = json.loads(JsonFormatter().format(record))
    return line


def error_of(error: Exception) -> dict[str, object]:
    def fail() -> None:
        raise error

    try:
        fail()
    except Exception as caught:
        return formatted(exc_info=(type(caught), caught, caught.__traceback__))
    return {}


def test_a_line_has_time_level_event_logger_and_fields() -> None:
    assert formatted(fields={"port": 1}) == {"ts": 12.345679, "level": "info", "event": "started", "logger": "authz", "port": 1}


def test_fields_overwrite_nothing_and_may_be_of_any_type() -> None:
    line = formatted(fields={"event": "other", "path": object, "level": 1, 7: "seven"})

    assert tuple(line[name] for name in ("event", "level", "path", "7")) == ("started", "info", "<class 'object'>", "seven")


def test_fields_that_cannot_be_written_say_so() -> None:
    endless: list[object] = []
    endless.append(endless)

    assert formatted(fields={"x": endless})["unreadable_fields"] is True


def test_an_exception_tells_where_and_not_the_value_it_quotes() -> None:
    line = error_of(ValueError("invalid literal: 'hunter2'"))

    assert line["error"] == "ValueError"
    assert "hunter2" not in json.dumps(line)
    assert any("test_log.py" in place for place in line["at"])  # type: ignore[attr-defined]


@pytest.mark.parametrize("error", [PolicyError("mode: expected off"), OSError(28, "No space left"), TypeError("not callable")])
def test_an_exception_about_code_or_disk_tells_its_message(error: Exception) -> None:
    assert str(error) == error_of(error)["message"]


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)


def handler_to(descriptor: int) -> StderrHandler:
    handler = StderrHandler(descriptor)
    handler.setFormatter(JsonFormatter())
    return handler


def record(event: str) -> logging.LogRecord:
    return logging.makeLogRecord({"levelname": "INFO", "name": "x", "msg": event})


def test_events_arrive_in_order_and_closing_writes_the_rest(pipe: tuple[int, int]) -> None:
    handler = handler_to(pipe[1])
    for i in range(50):
        handler.emit(record(f"event_{i}"))

    handler.close()

    events = [json.loads(line)["event"] for line in os.read(pipe[0], 65536).splitlines()]
    assert [f"event_{i}" for i in range(50)] == events


def test_too_many_waiting_events_are_counted_and_told(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "_FLUSH_SECONDS", 60)
    monkeypatch.setattr(log, "MAX_WAITING", 3)
    handler = handler_to(pipe[1])
    for i in range(5):
        handler.emit(record(f"event_{i}"))

    handler.close()

    lines = [json.loads(line) for line in os.read(pipe[0], 65536).splitlines()]
    assert [line["event"] for line in lines] == ["event_0", "event_1", "event_2", "events_dropped"]
    assert (lines[-1]["count"], handler.dropped) == (2, 2)


def test_emitting_does_not_wait_when_nobody_reads() -> None:
    reading, writing = os.pipe()
    handler = handler_to(writing)
    for _ in range(1_000):
        handler.emit(record("x" * 200))
    handler.flush()  # gives up after a second: the pipe is full, and the thread waits in its write
    for _ in range(log.MAX_WAITING + 1):
        handler.emit(record("x" * 200))

    os.close(reading)  # ends the write that waits
    handler.close()
    os.close(writing)
    assert handler.dropped > 0


def test_a_record_that_cannot_be_formatted_stops_nothing(pipe: tuple[int, int]) -> None:
    handler = handler_to(pipe[1])
    handler.emit(logging.makeLogRecord({"msg": "%d apples", "args": ("many",)}))
    handler.emit(record("next"))

    handler.flush()

    assert ["unreadable_event", "next"] == [json.loads(line)["event"] for line in os.read(pipe[0], 65536).splitlines()]
    handler.close()


def test_configure_replaces_what_was_there_and_sets_the_level(capfd: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    for handler in before:
        root.removeHandler(handler)
    try:
        configure("error")
        configured = configure("warning")
        logging.getLogger("authz_server.test").info("quiet")
        logging.getLogger("authz_server.test").warning("loud", extra={"fields": {"n": 1}})
        configured.close()
        lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
        assert [(line["event"], line["n"]) for line in lines] == [("loud", 1)]
        assert [configured] == root.handlers
    finally:
        root.handlers[:] = before
        root.setLevel(level)


def test_a_state_is_told_once_for_each_change(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    state = StateLog(logging.getLogger("x"), "broken", "mended")

    told = [state.good(), state.bad("a"), state.bad("a"), state.bad("b"), state.good(), state.good()]

    assert told == [False, True, False, True, True, False]
    assert [line.message for line in caplog.records] == ["broken", "broken", "mended"]
    assert caplog.records[0].fields == {"problem": "a"}  # type: ignore[attr-defined]
