import logging
import threading

import pytest

from authz_server.watch import Watch


def test_every_poll_is_called_again_and_again_even_when_one_raises(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    third = threading.Event()
    calls: list[int] = []

    def bad() -> None:
        raise ValueError

    def good() -> None:
        calls.append(1)
        if len(calls) == 3:
            third.set()

    watch = Watch(0.01, bad, good)
    watch.start()

    assert third.wait(5)
    watch.close()
    count = len(calls)
    assert not third.wait(0) or count == len(calls)
    assert {"poll_failed"} == {record.message for record in caplog.records}


def test_closing_what_was_never_started_is_fine() -> None:
    Watch(1.0).close()
