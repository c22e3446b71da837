"""Ctrl-C and SIGTERM while a cluster is changed: the workload in hand is finished, the next ones aren't begun.

The second Ctrl-C stops at once, which can leave a workload half done; the revision that was written before says so.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["stop_on_request"]


@contextmanager
def stop_on_request(tell: Callable[[str], None]) -> Iterator[Callable[[], bool]]:
    """Catch SIGINT and SIGTERM while the block runs; gives what tells whether one came. For the main thread."""
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        del frame
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked = True
        tell("stopping after this workload; Ctrl-C once more to stop at once")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
