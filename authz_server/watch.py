"""One thread that looks at files (policy, bundle) every so often: the only place that waits between polls."""

import logging
from collections.abc import Callable
from threading import Event, Thread

__all__ = ["Watch"]

_log = logging.getLogger(__name__)


class Watch:
    """Calls every `poll` each `seconds`, until closed; one that raises is logged and called again."""

    def __init__(self, seconds: float, *polls: Callable[[], object]) -> None:
        self._seconds = seconds
        self._polls = polls
        self._stop = Event()
        self._thread = Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Begin, one interval from now."""
        self._thread.start()

    def close(self, timeout: float = 2.0) -> None:
        """Stop; wait for a poll under way at most `timeout` seconds."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stop.wait(self._seconds):
            for poll in self._polls:
                try:
                    poll()
                except Exception:
                    _log.exception("poll_failed")
