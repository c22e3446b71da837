"""What training needs: peak memory and calls a CPU second, at 100 thousand and at a million calls of the seeded shop.

The calls are made one after the other into a store on disk, and a process of its own trains from that store: `python -m
bench.memory STORE OUT` prints what it took. All values are new ones, as in life, so that what grows with their number shows.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from authz_server.engine.observe import Observer
from bench import workload
from bench.table import table, write_json, yes

__all__ = ["CALLS", "Training", "run"]

CALLS: Final = (100_000, 1_000_000)
_GROWTH: Final = 1.2
"""Times more memory for ten times the calls that still count as none: histories and sketches fill up."""
_PER_SECOND: Final = 20_000


class Training(msgspec.Struct, frozen=True):
    """One training: calls, resident memory before it and at most, CPU and clock seconds."""

    calls: int
    before_mb: float
    peak_mb: float
    cpu_seconds: float
    seconds: float


def run(calls: Sequence[int] = CALLS, seed: int = 1) -> list[Training]:
    """Measure each number of calls; print the table, write bench/out/memory.json."""
    trainings = []
    for n in sorted(calls):
        print(f"making {n:,} calls and learning from them", flush=True)
        trainings.append(_measure(n, seed))
    first = trainings[0]
    rows = [
        (
            f"{one.calls:,}",
            f"{one.before_mb:.0f}",
            f"{one.peak_mb:.0f}",
            f"{one.peak_mb / first.peak_mb:.2f}",
            yes(one.peak_mb <= first.peak_mb * _GROWTH),
            f"{one.calls / one.cpu_seconds:,.0f}",
            yes(one.calls / one.cpu_seconds >= _PER_SECOND),
        )
        for one in trainings
    ]
    header = ("calls", "MB before", "MB peak", "x the first", f"<= {_GROWTH}", "calls/CPU s", f">= {_PER_SECOND:,}")
    print(table("\nTraining from a store, one process", header, rows))
    print(f"\nwritten to {write_json('memory', {'seed': seed, 'trainings': trainings})}")
    return trainings


def _measure(calls: int, seed: int) -> Training:
    from trainer.store_writer import StoreWriter

    with tempfile.TemporaryDirectory(prefix="meshwarden-bench-") as name:
        store, out = str(Path(name) / "store"), str(Path(name) / "bundle")
        with StoreWriter(store, Observer().key_id) as writer:
            for record in workload.records(seed, "memory", calls, Observer()):
                writer.put(record)
        command = [sys.executable, "-m", "bench.memory", store, out]
        told = subprocess.run(command, check=True, capture_output=True, cwd=Path(__file__).resolve().parents[1])
        return Training(calls, **json.loads(told.stdout))


def _train(store: str, out: str) -> dict[str, float]:
    from trainer.train import train

    before, began, cpu = _peak_mb(), time.monotonic(), time.process_time()
    train(store, out, Observer().key_id)
    seconds, cpu = time.monotonic() - began, time.process_time() - cpu
    return {"before_mb": before, "peak_mb": _peak_mb(), "cpu_seconds": cpu, "seconds": seconds}


def _peak_mb() -> float:
    """Tell the most memory that was resident; ru_maxrss won't do, since a child begins with its parent's (getrusage(2))."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError("expected VmHWM in /proc/self/status")


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_train(sys.argv[1], sys.argv[2])))
