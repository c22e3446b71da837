"""Callers' histories and paces: what shared ones add to a Check, what a caller weighs, and a million callers thrown at each.

The Checks are the real Checker's in this process, on the seeded mesh, by turns with histories in memory, in a Redis and in a
Valkey on loopback: differences within one run. By turns with them, and as a yardstick of the machine, a Check with histories in
memory that sends Redis a PING besides, on a bare socket: what that adds is what any round trip costs here and now. A flood goes
to the histories themselves, since the rest of a Check keeps nothing.
"""

import gc
import os
import re
import socket
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from authz_server.afterwards import Afterwards
from authz_server.bundle import Bundle, load_bundle, write_bundle
from authz_server.check import Checker
from authz_server.engine.history import MAX_CALLERS, Past
from authz_server.engine.observe import Observer
from authz_server.engine.pace import BITS, METERS, Footprint, PaceLimits, to_limits
from authz_server.engine.policy import Enforcement, Rule
from authz_server.engine.record import OutcomeRecord
from authz_server.histories.memory import MemoryHistories
from authz_server.histories.redis_connector import connector
from authz_server.histories.redis_errand import to_question
from authz_server.histories.redis_histories import RedisHistories
from authz_server.histories.redis_scripts import caller_key, decision_key, pace_key
from authz_server.histories.visit import Histories, Visit, join_key
from bench import workload
from bench.servers import resident_bytes
from bench.table import quantile, table, write_json, yes
from demo.redis_server import Kind, RedisServer
from trainer.train import train_calls

__all__ = ["Options", "run"]

_ADDED_US: Final = 400.0
_BLOCK: Final = 50
"""Checks until it is the next one's turn."""
_LIMIT_MB: Final = 64
_REAL: Final = 1_000
"""Callers that come back."""
_TURNS: Final = 100
"""How often each of them comes: between two of its calls so much of the flood arrives."""
_PIPELINE: Final = 200
_SHOP: Final = "shop/shop"
_FAR: Final = PaceLimits(*[to_limits((1e9,) * len(METERS))] * 3)
"""What nobody exceeds, as a volume model's limits are for nearly all calls."""
_ENDPOINTS: Final = tuple(f"POST /shop/action-{number}/{{*}}" for number in range(12))


class Options(msgspec.Struct, frozen=True):
    """How much is measured: Checks a round, rounds, Checks learned from, callers of the flood."""

    seed: int = 1
    checks: int = 500
    rounds: int = 6
    learn: int = 24_000
    callers: int = 1_000_000


def run(options: Options) -> dict[str, Any]:
    """Measure everything, print it, write bench/out/history.json."""
    flood = {"memory": _flood_memory(options)}  # first, while this process is small
    with tempfile.TemporaryDirectory(prefix="meshwarden-bench-") as name:
        directory = Path(name)
        servers = {kind: RedisServer(kind, directory, {"maxmemory-policy": "volatile-lfu"}) for kind in Kind}
        for server in servers.values():
            server.start()
        try:
            results: dict[str, Any] = {
                "options": options,
                "checks": _checks(options, directory, servers),
                "weights": _weights(servers),
            }
            results["flood"] = flood | {kind.value: _flood_redis(options, server) for kind, server in servers.items()}
        finally:
            for server in servers.values():
                server.stop()
    _tell_flood(options, results["flood"])
    print(f"\nwritten to {write_json('history', results)}")
    return results


def _checks(options: Options, directory: Path, servers: dict[Kind, RedisServer]) -> dict[str, Any]:
    observer = Observer()
    learned = list(workload.records(options.seed, "learn", options.learn, observer))
    write_bundle(directory / "bundle", train_calls(lambda: learned), time.time(), observer.key_id)
    bundle = load_bundle(directory / "bundle", observer.key_id)
    messages = [check.data for check in workload.checks(options.seed, "send", options.checks * options.rounds)]
    shared = {kind.value: RedisHistories(server.url, 1.0, 1, "bench", 0.0) for kind, server in servers.items()}
    pings = {f"memory, and a PING to {kind.value}": _Pinging(server.port) for kind, server in servers.items()}
    kept: dict[str, Histories] = {"memory": MemoryHistories(time.time()), **pings, **shared}
    spent = {name: _Spent() for name in kept}
    for one in shared.values():
        one.start()
    for server in servers.values():
        server.tell("CONFIG", "RESETSTAT")
    checkers = {name: _checker(bundle, observer, histories) for name, histories in kept.items()}
    for first in range(0, len(messages), _BLOCK):
        for name, checker in checkers.items():
            spent[name].take(checker, messages[first : first + _BLOCK])
    missed = sum(one.outcomes.missed for one in shared.values())
    scripts = {kind.value: _script_us(server) for kind, server in servers.items()}
    for one in shared.values():
        one.close()
    for pinging in pings.values():
        pinging.close()
    base = spent["memory"]
    found = {
        name: {
            "p50": quantile(one.us, 0.5),
            "p99": quantile(one.us, 0.99),
            "added": quantile(one.us, 0.5) - quantile(base.us, 0.5),
            "added_p10": quantile(one.us, 0.1) - quantile(base.us, 0.1),
            "cpu_added": (one.cpu - base.cpu) * 1e6 / len(messages),
            "script": scripts.get(name, 0.0),
        }
        for name, one in spent.items()
    }
    rows = [
        (
            name,
            *[f"{one[key]:.0f}" for key in ("p50", "p99")],
            *[f"{one[key]:+.0f}" for key in ("added", "added_p10", "cpu_added")],
            f"{one['script']:.0f}" if name in scripts else "",
            yes(one["added"] < _ADDED_US) if name in scripts else "",
        )
        for name, one in found.items()
    ]
    header = ("histories in", "p50 us", "p99 us", "p50 added", "p10 added", "CPU here", "script there", f"< {_ADDED_US:.0f}")
    print(table(f"A Check in one process, {len(messages):,} by turns; answered without history: {missed}", header, rows))
    print(
        "p50 added: by the median. p10 added: where the machine had least else to do. CPU here: what this process computes more,"
        "\non average. script there: what Redis computes, on average, by its own count. The rest is the round trip: see PING."
    )
    return {"us": found, "missed": missed}


class _Spent:
    """What Checks took: microseconds each, and seconds of CPU together."""

    def __init__(self) -> None:
        self.us: list[float] = []
        self.cpu = 0.0

    def take(self, checker: Checker, messages: Sequence[bytes]) -> None:
        """Check, and add what it took."""
        computed = time.thread_time()
        for message in messages:
            began = time.perf_counter()
            checker.check(message)
            self.us.append((time.perf_counter() - began) * 1e6)
        self.cpu += time.thread_time() - computed


class _Pinging:
    """Histories in memory that send a PING with each visit, and wait for the answer."""

    def __init__(self, port: int) -> None:
        self._memory = MemoryHistories(time.time())
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=5.0)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __len__(self) -> int:
        return len(self._memory)

    def visit(self, visit: Visit) -> Past | None:
        """As Histories has it."""
        self._socket.sendall(b"*1\r\n$4\r\nPING\r\n")
        self._socket.recv(64)
        return self._memory.visit(visit)

    def take_back(self, visit: Visit, *, relieves: bool = False) -> None:
        """As Histories has it."""
        self._memory.take_back(visit, relieves=relieves)

    def settle(self, record: OutcomeRecord) -> None:
        """As Histories has it."""
        self._memory.settle(record)

    def close(self) -> None:
        """End the connection."""
        self._socket.close()


def _script_us(server: RedisServer) -> float:
    """Tell the microseconds that Redis counted for a script, on average."""
    found = re.search(rb"cmdstat_evalsha:calls=\d+,usec=\d+,usec_per_call=([\d.]+)", server.tell("INFO", "commandstats"))
    return float(found[1]) if found is not None else 0.0


def _checker(bundle: Bundle, observer: Observer, histories: Histories) -> Checker:
    enforcement = Enforcement(Rule(session=workload.SESSION), {})
    afterwards = Afterwards(lambda: bundle, lambda: enforcement, lambda _: None)
    return Checker(lambda: enforcement, lambda: bundle, observer, histories, afterwards, lambda *_: None, _stop)


def _stop(kind: str) -> None:
    raise RuntimeError(f"a Check failed: {kind}")


def _weights(servers: dict[Kind, RedisServer]) -> dict[str, Any]:
    """Weigh callers of one step and of many."""
    found: dict[str, Any] = {"memory": [_weigh_memory(steps) for steps in (1, 200)]}
    for kind, server in servers.items():
        server.tell("FLUSHALL")
        connect = connector(server.url, 5.0)(0)
        connect.run_all([to_question(_visit(session, step), "0") for session, step in _walks()])
        callers = [f"{session:012x}" for session in (1, 200)]
        keys = [caller_key(_SHOP, caller) for caller in callers] + [pace_key("s", _SHOP, caller) for caller in callers]
        keys += [decision_key(_visit(1, 0).decision_id)]
        found[kind.value] = [int(server.tell("MEMORY", "USAGE", key)[1:].split(b"\r")[0]) for key in keys]
        connect.close()
    rows = [(name, *[f"{size:,.0f}" for size in sizes]) for name, sizes in found.items()]
    header = ("bytes of a", "caller: 1 step", "200 steps, 12 endpoints", "pace: 1 call", "200 calls", "call that waits")
    title = "\nMemory of a tracked caller; in this process its history with two paces, of its session and its address"
    print(table(title, header, [(*row, "", "", "")[:6] for row in rows]))
    return found


def _walks() -> list[tuple[int, int]]:
    return [(steps, step) for steps in (1, 200) for step in range(steps)]


def _weigh_memory(steps: int) -> float:
    visits = [_visit(session, step) for session in range(1_000) for step in range(steps)]
    histories = MemoryHistories(0.0)
    tracemalloc.start()
    for visit in visits:
        histories.visit(visit)
        histories.settle(OutcomeRecord(visit.decision_id, 1.0, status=200))
    gc.collect()
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return size / len(histories)


def _tell_flood(options: Options, found: dict[str, Any]) -> None:
    rows = [
        (name, one["limit"], f"{one['mb']:.0f}", *[f"{one[key]:,.0f}" for key in ("kept", "known", "paced", "seconds")])
        for name, one in found.items()
    ]
    header = ("histories in", "limit", "MB", "callers, keys kept", f"of {_REAL:,} real ones known", "their paces", "s")
    between = options.callers // _TURNS
    title = f"\n{options.callers:,} invented callers, one call each; {between:,} between two calls of each of {_REAL:,} real ones"
    print(table(title, header, rows))


def _throw(options: Options, take: Callable[[Sequence[Visit]], object]) -> float:
    """Let a thousand callers work while invented ones come; return the seconds it took."""
    began = time.monotonic()
    for turn in range(_TURNS):
        take([_visit(session, turn, _FAR) for session in range(_REAL)])
        share = range(turn * options.callers // _TURNS, (turn + 1) * options.callers // _TURNS)
        for first in range(share.start, share.stop, _PIPELINE):
            take([_visit(_REAL + number, 0, _FAR) for number in range(first, min(first + _PIPELINE, share.stop))])
    return time.monotonic() - began


def _flood_memory(options: Options) -> dict[str, Any]:
    histories = MemoryHistories(0.0)
    before = resident_bytes(os.getpid())
    seconds = _throw(options, lambda visits: [histories.visit(visit) for visit in visits])
    megabytes = (resident_bytes(os.getpid()) - before) / 1e6
    kept = len(histories)
    pasts: list[Past | None] = [histories.visit(_visit(session, _TURNS)) for session in range(_REAL)]
    known, paced = _count_known(pasts)
    return {
        "limit": f"{MAX_CALLERS:,} callers",
        "mb": megabytes,
        "kept": kept,
        "known": known,
        "paced": paced,
        "seconds": seconds,
    }


def _flood_redis(options: Options, server: RedisServer) -> dict[str, Any]:
    server.tell("FLUSHALL")
    server.tell("CONFIG", "SET", "maxmemory", f"{_LIMIT_MB}mb")
    link = connector(server.url, 30.0)(0)
    seconds = _throw(options, lambda visits: link.run_all([to_question(visit, "0") for visit in visits]))
    megabytes = int(server.tell("INFO", "memory").partition(b"used_memory:")[2].split(b"\r")[0]) / 1e6
    kept = int(server.tell("DBSIZE")[1:].split(b"\r")[0])
    link.close()
    with RedisHistories(server.url, 1.0, 1, "bench", 0.0) as histories:
        pasts: list[Past | None] = [histories.visit(_visit(session, _TURNS)) for session in range(_REAL)]
    known, paced = _count_known(pasts)
    return {"limit": f"{_LIMIT_MB} MiB", "mb": megabytes, "kept": kept, "known": known, "paced": paced, "seconds": seconds}


def _count_known(pasts: Sequence[Past | None]) -> tuple[int, int]:
    """Count the callers whose whole history is there, and those whose pace isn't that of a new one."""
    known = sum(past is not None and len(past.ever) == len(_ENDPOINTS) for past in pasts)
    return known, sum(past is not None and past.paces.session.age > 0.0 for past in pasts)


def _visit(session: int, step: int, limits: PaceLimits | None = None) -> Visit:
    decision_id = f"{session * 1_000 + step:032x}"
    key = join_key(f"{session:08x}-0000-4000-8000-{step:012x}", _SHOP, "POST")
    endpoint, footprint = step % len(_ENDPOINTS), Footprint(1.0, step % len(_ENDPOINTS), (step % BITS,))
    name = f"{session:012x}"
    return Visit(decision_id, 1.0 + step, _SHOP, name, _ENDPOINTS[endpoint], key, name, footprint, limits)
