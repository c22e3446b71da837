"""Speed: the real server beside an empty handler on the same transport, the stages alone, memory and start-up.

Targets (issue 2): a whole Check at most 1.6 times the empty handler's CPU, `decide()` p50 under 60 microseconds for an 875-byte
POST with a JSON body (issue 3: under 40), under 100 MB resident, ready in under 1.5 s. They hold for normal calls, so the bundle
is of a mesh as busy as the bench is (`busy.py`); beside it stands the server to which the same calls are a flood, each of them
judged abnormal and told of in the decision log.
"""

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from authz_server.bundle import load_bundle
from authz_server.engine.canonical import to_call
from authz_server.engine.observe import Observer
from authz_server.engine.policy import SessionSource
from bench import workload
from bench.busy import write_busy
from bench.load import Load, Round, play
from bench.servers import Running, ready_seconds, resident_bytes, start_empty, start_real
from bench.stages import STAGES, decide_us, measure_stages
from bench.table import median, spread, table, write_json, yes
from trainer.store_writer import StoreWriter
from trainer.train import train

__all__ = ["Options", "run"]

_RATIO: Final = 1.6
_DECIDE_US: Final = 60.0
_DECIDE_US_LATER: Final = 40.0
_RESIDENT_MB: Final = 100.0
_READY_SECONDS: Final = 1.5
_STAGE_CALLS: Final = 6_000
_FLOODED: Final = "serve, a flood"


class Options(msgspec.Struct, frozen=True):
    """How much is measured: Checks of a round, rounds, starts, Checks learned from; `seed` decides what they are."""

    seed: int = 1
    checks: int = 1000
    rounds: int = 7
    starts: int = 5
    learn: int = 24_000


def run(options: Options) -> dict[str, Any]:
    """Measure everything, print it, write bench/out/speed.json."""
    results: dict[str, Any] = {"options": options}
    with tempfile.TemporaryDirectory(prefix="meshwarden-bench-") as name:
        directory = Path(name)
        bundle = directory / "bundle"
        results["training"] = _train(options, directory / "learned")
        write_busy(directory / "learned", bundle, Observer().key_id)
        results["transport"], targets = _transport(options, directory, bundle)
        results["stages"], more = _stages(options, directory, bundle)
        targets += more
        results["start"], more = _start(options, directory, bundle)
        targets += more
    rows = [(what, figure, target, yes(held)) for what, figure, target, held in targets]
    print(table("\nTargets", ("what", "measured", "target", "reached"), rows))
    results["targets"] = [
        {"what": what, "measured": figure, "target": target, "reached": held} for what, figure, target, held in targets
    ]
    print(f"\nwritten to {write_json('speed', results)}")
    return results


Case = tuple[Sequence[bytes], Sequence[SessionSource]]
"""Messages, and where sessions are read from: nowhere, and the sequence isn't judged."""
Target = tuple[str, str, str, bool]


def _train(options: Options, bundle: Path) -> dict[str, float]:
    observer = Observer()
    with tempfile.TemporaryDirectory(prefix="meshwarden-bench-") as store:
        with StoreWriter(store, observer.key_id) as writer:
            for record in workload.records(options.seed, "learn", options.learn, observer):
                writer.put(record)
        began = time.process_time()
        manifest = train(store, str(bundle), observer.key_id)
        seconds = time.process_time() - began
    size = sum(path.stat().st_size for path in bundle.rglob("*") if path.is_file())
    endpoints = sum(entry.endpoints for entry in manifest.workloads.values())
    workloads = len(manifest.workloads)
    print(
        f"the bundle: seed {options.seed}, {writer.written:,} Checks of {workloads} workloads, {endpoints} endpoints, "
        f"{size:,} bytes; trained from a store at {writer.written / seconds:,.0f} calls per CPU second of one core"
    )
    return {"calls": writer.written, "bundle_bytes": size, "calls_per_cpu_second": writer.written / seconds}


def _transport(options: Options, directory: Path, bundle: Path) -> tuple[list[dict[str, Any]], list[Target]]:
    """Measure the servers in turns: A B C, A B C, ..., each round with each load."""
    total = options.checks * options.rounds
    quick = workload.quick_orders(options.seed, "send", total)
    mix = [check.data for check in workload.checks(options.seed, "send", total)][:total]
    loads = [
        Load(name, [messages[turn :: options.rounds] for turn in range(options.rounds)], n)
        for name, messages in (("POST 875 B", quick), ("demo mix", mix))
        for n in (1, 16)
    ]
    found: dict[tuple[str, str, int], list[Round]] = {}
    with contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(start_empty(directory)),
            stack.enter_context(start_real("serve", directory, bundle)),
            stack.enter_context(start_real("serve, recording", directory, bundle, ("--record", str(directory / "record")))),
            stack.enter_context(start_real(_FLOODED, directory, directory / "learned")),
        ]
        for turn in range(options.rounds):
            for load in loads:
                for name, measured in play(servers, load, turn).items():
                    found.setdefault((name, load.name, load.in_flight), []).append(measured)
        resident = {server.name: resident_bytes(server.process.pid) / 1e6 for server in servers}
    return _transport_table(servers, loads, found, resident)


def _transport_table(
    servers: list[Running], loads: list[Load], found: dict[tuple[str, str, int], list[Round]], resident: dict[str, float]
) -> tuple[list[dict[str, Any]], list[Target]]:
    rows: list[tuple[object, ...]] = []
    results = []
    targets: list[Target] = []
    for load in loads:
        base = found["empty", load.name, load.in_flight]
        for server in servers:
            rounds = found[server.name, load.name, load.in_flight]
            ratios = [one.cpu_us / other.cpu_us for one, other in zip(rounds, base, strict=True)]
            figures = {field: median([getattr(one, field) for one in rounds]) for field in Round.__struct_fields__}
            cpu, p50, p99 = figures["cpu_us"], figures["p50_us"], figures["p99_us"]
            rows.append(
                (
                    f"{load.name}, {load.in_flight} in flight",
                    server.name,
                    f"{cpu:.0f}",
                    spread(ratios),
                    f"{p50:.0f}",
                    f"{p99:.0f}",
                )
            )
            results.append({"load": load.name, "in_flight": load.in_flight, "server": server.name, **figures, "ratios": ratios})
            if server.name not in ("empty", _FLOODED):
                what = f"whole Check, {load.name}, {load.in_flight} in flight, {server.name}"
                targets.append((what, f"{median(ratios):.2f} x", f"<= {_RATIO} x empty", median(ratios) <= _RATIO))
    header = ("load", "server", "CPU us", "x empty (min-max)", "p50 us", "p99 us")
    size = len(loads[0].rounds[0])
    title = f"\nA Check through gRPC, one check worker, client on this machine: medians of {len(base)} rounds of {size:,}"
    print(table(title, header, rows))
    for name, megabytes in resident.items():
        if name not in ("empty", _FLOODED):
            held = megabytes < _RESIDENT_MB
            targets.append((f"resident after the rounds, {name}", f"{megabytes:.0f} MB", f"< {_RESIDENT_MB:.0f} MB", held))
    return results, targets


def _stages(options: Options, directory: Path, bundle_place: Path) -> tuple[dict[str, Any], list[Target]]:
    observer = Observer()
    bundle = load_bundle(bundle_place, observer.key_id)
    cases = _cases(options.seed, "stages")
    measured = measure_stages(cases, bundle, directory / "stages")
    # Other calls than before: the engine caches by value.
    alone = {
        name: decide_us([to_call(workload.to_raw_call(data), observer, sources) for data in messages], bundle)
        for name, (messages, sources) in _cases(options.seed, "alone").items()
    }
    header = ("stage, p50/p99 us", *cases)
    rows: list[tuple[object, ...]] = [(stage, *(_pair(measured[name][stage]) for name in cases)) for stage in STAGES]
    rows.append(("decide() alone", *(_pair(alone[name]) for name in cases)))
    rows.append(("bytes", *(f"{sum(map(len, messages)) // len(messages):,}" for messages, _ in cases.values())))
    print(table("\nThe stages of a Check in one process, every call different", header, rows))
    slowest, best = (pick([measured[name]["yardstick"][0] for name in cases]) for pick in (max, min))
    print(f"the yardstick took {best:.1f} to {slowest:.1f} us: where that is far apart, the machine was busy with other things")
    targets: list[Target] = []
    for name in cases:
        p50 = alone[name][0]
        if name == "POST 875 B":
            targets.append((f"decide() p50, {name}", f"{p50:.1f} us", f"< {_DECIDE_US:.0f} us", p50 < _DECIDE_US))
        targets.append(
            (f"decide() p50, {name} (issue 3)", f"{p50:.1f} us", f"< {_DECIDE_US_LATER:.0f} us", p50 < _DECIDE_US_LATER)
        )
    results = {name: {**measured[name], "decide_alone": alone[name]} for name in cases}
    return results, targets


def _cases(seed: int, phase: str) -> dict[str, Case]:
    """Make the calls of each case; none is in two of them."""
    mix = [check.data for check in workload.checks(seed, phase, _STAGE_CALLS)]
    searches = [check.data for check in workload.checks(seed, f"{phase} searches", 4 * _STAGE_CALLS) if b"/search?" in check.data]
    return {
        "POST 875 B": (workload.quick_orders(seed, phase, _STAGE_CALLS), ()),
        "GET with query": (searches, ()),
        "POST 875 B, session": (workload.quick_orders(seed, f"{phase} session", _STAGE_CALLS), workload.SESSION),
        "abnormal": (workload.abnormal(seed, phase, _STAGE_CALLS // 2), workload.SESSION),
        "demo mix": (mix, workload.SESSION),
    }


def _pair(times: tuple[float, float]) -> str:
    return f"{times[0]:.1f}/{times[1]:.0f}"


def _start(options: Options, directory: Path, bundle: Path) -> tuple[dict[str, Any], list[Target]]:
    with start_real("memory", directory, bundle) as running:
        loaded = resident_bytes(running.process.pid) / 1e6
    seconds = ready_seconds(directory, bundle, options.starts)
    imports = [
        _time([sys.executable, "-c", "import grpc, msgspec, numpy, yaml, prometheus_client"]) for _ in range(options.starts)
    ]
    bare = [_time([sys.executable, "-c", "pass"]) for _ in range(options.starts)]
    rows = [
        ("server, exec to /readyz 200", spread(seconds)),
        ("python with grpc, msgspec, numpy, yaml, prometheus_client", spread(imports)),
        ("python alone", spread(bare)),
    ]
    print(table(f"\nStart-up in seconds, {options.starts} starts", ("what", "median (min-max)"), rows))
    targets = [
        ("resident after load", f"{loaded:.0f} MB", f"< {_RESIDENT_MB:.0f} MB", loaded < _RESIDENT_MB),
        ("exec to ready", f"{median(seconds):.2f} s", f"< {_READY_SECONDS} s", median(seconds) < _READY_SECONDS),
    ]
    return {"ready_seconds": seconds, "imports_seconds": imports, "python_seconds": bare, "resident_mb": loaded}, targets


def _time(command: list[str]) -> float:
    began = time.monotonic()
    subprocess.run(command, check=True)
    return time.monotonic() - began
