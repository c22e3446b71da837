"""The client: sends serialised CheckRequests over one connection with so many in flight, and times each.

It shares the machine with the server, so latency is to be read beside the empty handler's only; the CPU counted is the server's.
"""

import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

import grpc
import msgspec

from bench.servers import Running, cpu_seconds
from bench.table import quantile

__all__ = ["Load", "Round", "play"]

_CHECK: Final = "/envoy.service.auth.v3.Authorization/Check"
_SETTLE_SECONDS: Final = 0.35
"""For what is done behind the answer: the recorder writes every 0.25 s, the decision log every 0.1 s."""


class Load(msgspec.Struct, frozen=True):
    """What is sent: a name, the messages of each round (other ones in each, so that no cache knows them), how many at a time."""

    name: str
    rounds: Sequence[Sequence[bytes]]
    in_flight: int


class Round(msgspec.Struct, frozen=True):
    """What one round measured: the server's CPU for a Check, and how long answers took, in microseconds."""

    cpu_us: float
    p50_us: float
    p99_us: float


def play(running: Running, load: Load, turn: int) -> Round:
    """Send one round's messages to a server."""
    messages = load.rounds[turn]
    pid = running.process.pid
    with grpc.insecure_channel(f"127.0.0.1:{running.port}") as channel:
        call = channel.unary_unary(_CHECK)
        for message in messages[:50]:
            call(message)
        before = cpu_seconds(pid)
        times = _one_by_one(call, messages) if load.in_flight == 1 else _window(call, messages, load.in_flight)
        time.sleep(_SETTLE_SECONDS)
        used = cpu_seconds(pid) - before
    return Round(used / len(messages) * 1e6, quantile(times, 0.5) * 1e6, quantile(times, 0.99) * 1e6)


def _one_by_one(call: Any, messages: Sequence[bytes]) -> list[float]:
    times = []
    for message in messages:
        began = time.perf_counter()
        call(message)
        times.append(time.perf_counter() - began)
    return times


def _window(call: Any, messages: Sequence[bytes], in_flight: int) -> list[float]:
    """Keep `in_flight` calls under way; each is timed until its answer is there, not until it is looked at."""
    times: list[float] = []
    waiting: deque[Any] = deque()
    for message in messages:
        if len(waiting) >= in_flight:
            waiting.popleft().result()
        began = time.perf_counter()
        future = call.future(message)
        future.add_done_callback(lambda _, began=began: times.append(time.perf_counter() - began))
        waiting.append(future)
    for future in waiting:
        future.result()
    return times
