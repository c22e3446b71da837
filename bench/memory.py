"""What training needs: peak memory and calls a CPU second on one core, of csic2010 and of up to a million calls of the shop.

The calls are written into a store on disk, and a process of its own trains from that store: `python -m bench.memory STORE OUT`
prints what it took. All values of the shop are new ones, as in life, so that what grows with their number shows.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from authz_server.engine.observe import Observer
from bench import workload
from bench.datasets import data_directory, prepare
from bench.table import table, write_json, yes

__all__ = ["CALLS", "Training", "run"]

_FILE: Final = "csic2010.jsonl.gz"
CALLS: Final = (100_000, 1_000_000)
_GROWTH: Final = 1.2
"""Times more memory for ten times the calls that still count as none: histories and sketches fill up."""
_PER_SECOND: Final = 20_000


class Training(msgspec.Struct, frozen=True):
    """One training: what of, calls, resident memory before it and at most, CPU and clock seconds."""

    data: str
    calls: int
    before_mb: float
    peak_mb: float
    cpu_seconds: float
    seconds: float


def run(calls: Sequence[int] = CALLS, seed: int = 1) -> list[Training]:
    """Measure csic2010, where it is there, and each number of calls of the shop; print the table, write bench/out/memory.json."""
    path = data_directory() / _FILE
    trainings = [_measure("csic2010", partial(_import, path))] if path.is_file() else []
    if not trainings:
        print(f"skipped: {path} is not there (set BENCH_DATA to the directory of the public data)")
    shops = []
    for n in sorted(calls):
        print(f"making {n:,} calls and learning from them", flush=True)
        shops.append(_measure("shop", partial(_make, n, seed)))
    rows = [
        (
            one.data,
            f"{one.calls:,}",
            f"{one.before_mb:.0f}",
            f"{one.peak_mb:.0f}",
            f"{one.peak_mb / shops[0].peak_mb:.2f}" if one.data == "shop" else "-",
            yes(one.peak_mb <= shops[0].peak_mb * _GROWTH) if one.data == "shop" else "-",
            f"{one.calls / one.cpu_seconds:,.0f}",
            yes(one.calls / one.cpu_seconds >= _PER_SECOND),
        )
        for one in (*trainings, *shops)
    ]
    header = ("data", "calls", "MB before", "MB peak", "x least", f"<= {_GROWTH}", "calls/CPU s", f">= {_PER_SECOND:,}")
    print(table("\nTraining from a store, one process; CPU seconds are user and system", header, rows))
    print(f"\nwritten to {write_json('memory', {'seed': seed, 'trainings': [*trainings, *shops]})}")
    return [*trainings, *shops]


def _measure(data: str, fill: Callable[[str], int]) -> Training:
    """Train from a store that `fill` writes at a place, telling how many calls are in it."""
    with tempfile.TemporaryDirectory(prefix="meshwarden-bench-") as name:
        store, out = str(Path(name) / "store"), str(Path(name) / "bundle")
        calls = fill(store)
        command = [sys.executable, "-m", "bench.memory", store, out]
        told = subprocess.run(command, check=True, capture_output=True, cwd=Path(__file__).resolve().parents[1])
        return Training(data, calls, **json.loads(told.stdout))


def _make(calls: int, seed: int, store: str) -> int:
    from trainer.store_writer import StoreWriter

    with StoreWriter(store, Observer().key_id) as writer:
        for record in workload.records(seed, "memory", calls, Observer()):
            writer.put(record)
    return writer.written


def _import(path: Path, store: str) -> int:
    from trainer.imports import Format, import_files

    with tempfile.TemporaryDirectory(prefix="meshwarden-bench-") as name:
        prepared = prepare(path, Path(name), drop_headers=False)
        import_files([str(prepared.train)], Format.CALLS, store, Observer())
    return prepared.teaching


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
