"""What training needs: peak memory and calls a CPU second on one core, of csic2010 and of up to a million calls of the shop.

The calls are written into a store on disk, and a process of its own trains from that store: `python -m bench.memory STORE OUT`
prints what it took. Of more than `_MADE` calls the rest are the first ones over again, later, with new ids, and with new
sessions and values for all that came seldom, as in life, so that what grows with their number shows.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Final

import msgspec

from authz_server.engine.call import Parameter
from authz_server.engine.observe import Observer
from authz_server.engine.record import CallRecord, encode_record
from bench import workload
from bench.datasets import data_directory, prepare
from bench.table import table, write_json, yes

__all__ = ["CALLS", "Training", "run"]

_FILE: Final = "csic2010.jsonl.gz"
CALLS: Final = (100_000, 1_000_000)
_GROWTH: Final = 1.2
"""Times more memory for ten times the calls that still count as none: histories and sketches fill up."""
_PER_SECOND: Final = 20_000
_MADE: Final = 100_000
"""Calls that are made one by one; to make a million so would take longer than all the rest."""
_SELDOM: Final = 100
"""Times among them up to which a session, an address or a value is a new one when they come again."""


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
    title = "Training from a store, one process; CPU seconds are user and system"
    print(table(f"\n{title}; beyond {_MADE:,} the shop's calls come again, as new ones", header, rows))
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

    made: list[bytes] = []
    times: Counter[str] = Counter()
    last_ts = first_ts = 0.0
    with StoreWriter(store, Observer().key_id) as writer:
        for record in workload.records(seed, "memory", min(calls, _MADE), Observer()):
            writer.put(record)
            if calls > _MADE:
                first_ts, last_ts = first_ts or record.ts, record.ts
                made.append(encode_record(record))
                times.update(_digests(record))
        decode = msgspec.json.Decoder(CallRecord).decode
        for turn in range(1, -(-calls // _MADE)):
            later = turn * (last_ts - first_ts + 1.0)
            for data in made[: calls - turn * _MADE]:
                writer.put(_as_new(decode(data), turn, later, times))
    return writer.written


def _digests(record: CallRecord) -> Iterator[str]:
    yield from (record.session, record.address)
    yield from [one.digest for one in (*record.segments, *record.parameters)]


def _as_new(record: CallRecord, turn: int, later: float, times: Counter[str]) -> CallRecord:
    """Make a call that comes so many seconds later; what came seldom is another one in each turn."""

    def new(digest: str) -> str:
        if not digest or times[digest] > _SELDOM:
            return digest
        return blake2b(f"{turn} {digest}".encode(), digest_size=len(digest) // 2).hexdigest()

    def like(one: Parameter) -> Parameter:
        digest = new(one.digest)
        return one if digest == one.digest else msgspec.structs.replace(one, digest=digest)

    return msgspec.structs.replace(
        record,
        id=f"{record.id}-{turn:x}",
        ts=record.ts + later,
        segments=tuple(map(like, record.segments)),
        parameters=tuple(map(like, record.parameters)),
        session=new(record.session),
        address=new(record.address),
        request_id=f"{record.request_id}-{turn:x}" if record.request_id else "",
    )


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
