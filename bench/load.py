"""The client: sends serialised CheckRequests over one connection with so many in flight, and times each.

The servers take turns every few hundred Checks, so that whatever else the machine does hits all of them alike. The client shares
the machine with them, so latency is to be read beside the empty handler's only; the CPU counted is the server's.
"""

import contextlib
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
_TURNS: Final = 5
"""Times that the servers take turns within a round."""
_WARM_UP: Final = 50
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


def play(servers: Sequence[Running], load: Load, turn: int) -> dict[str, Round]:
    """Send one round's messages to each server, by turns.

    What a server does idly while others have their turn counts too, which is next to nothing.
    """
    messages = load.rounds[turn]
    times: dict[str, list[float]] = {server.name: [] for server in servers}
    with contextlib.ExitStack() as stack:
        calls = {}
        for server in servers:
            channel = stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{server.port}"))
            calls[server.name] = channel.unary_unary(_CHECK)
            _one_by_one(calls[server.name], messages[:_WARM_UP])
        time.sleep(_SETTLE_SECONDS)
        before = {server.name: cpu_seconds(server.process.pid) for server in servers}
        for part in range(_TURNS):
            some = messages[part::_TURNS]
            for name, call in calls.items():
                times[name] += _one_by_one(call, some) if load.in_flight == 1 else _window(call, some, load.in_flight)
        time.sleep(_SETTLE_SECONDS)
        used = {server.name: cpu_seconds(server.process.pid) - before[server.name] for server in servers}
    return {
        name: Round(used[name] / len(messages) * 1e6, quantile(spent, 0.5) * 1e6, quantile(spent, 0.99) * 1e6)
        for name, spent in times.items()
    }


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
