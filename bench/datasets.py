"""A file of the `calls` shape, made ready to be measured on: rows to teach and rows to judge, as files for the real importer.

`prepare` writes `train.jsonl` (the train split, without its labels) and `all.jsonl` (what `evaluate` reads). Three things may be
done on the way: headers dropped, attack rows mixed in among the teaching ones, and, where the file has no split at all, one made.
"""

import gzip
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TextIO

import msgspec

__all__ = ["DEFAULTS", "DROPPED_BY_DEFAULT", "RESPONSE_HEADERS", "Poison", "Prepared", "data_directory", "prepare"]

DEFAULTS: Final = ("csic2010.jsonl.gz", "atrdf1.jsonl.gz")
RESPONSE_HEADERS: Final = ("set-cookie", "date", "server", "location", "etag", "last-modified", "content-type")
"""What a response has; `content-type` is dropped only from rows without a body."""
DROPPED_BY_DEFAULT: Final = ("atrdf1",)
"""Files whose collectors mixed the response's headers with the request's, as ../shared/data/README.md says."""
_TRAIN_SHARE: Final = 0.6
"""Of a file without splits the first part teaches."""

Json = dict[str, Any]


class Poison(msgspec.Struct, frozen=True):
    """Attacks among the teaching rows: a `share` of the file's attack rows, spread evenly over the time, as `clients` clients."""

    clients: int
    share: float


class Prepared(msgspec.Struct, frozen=True):
    """The two files, how many rows are in them, and what was done to get them, in words."""

    train: Path
    all: Path
    teaching: int
    rows: int
    notes: tuple[str, ...]


def data_directory() -> Path:
    """Find the public data: where BENCH_DATA says, else ../shared/data beside the checkout."""
    told = os.environ.get("BENCH_DATA")
    return Path(told) if told else Path(__file__).resolve().parents[2] / "shared" / "data"


def prepare(
    path: Path, directory: Path, *, drop_headers: bool, poison: Poison | None = None, clients: int = 0, seed: int = 1
) -> Prepared:
    """Write the two files into `directory`; streamed, so memory holds only the rows that poison.

    `clients` above 0: rows without a client get one of so many, by chance: where nobody else has a name, poisoners stand out by
    theirs.
    """
    directory.mkdir(parents=True, exist_ok=True)
    teaching, attacks, rows, split = _survey(path)
    notes = [] if split else [f"no split: the first {_TRAIN_SHARE:.0%} of the rows teach"]
    if drop_headers:
        notes.append("response headers dropped")
    poisoning = _poisoning(path, attacks, poison, seed, drop_headers=drop_headers) if poison else []
    if poison:
        notes.append(
            f"{len(poisoning)} of {attacks:,} attack rows among {teaching:,} teaching ones as {poison.clients} client(s)"
        )
    if clients:
        notes.append(f"rows without a client are of {clients} made-up ones")
    names = random.Random(f"clients:{seed}")
    every = teaching / len(poisoning) if poisoning else float("inf")
    train, everything = directory / "train.jsonl", directory / "all.jsonl"
    taught = put = 0
    with train.open("w", encoding="utf-8") as teach, everything.open("w", encoding="utf-8") as judge:
        for number, row in enumerate(_rows(path, drop_headers=drop_headers)):
            if clients and row.get("client") is None:
                row["client"] = f"client {names.randrange(clients)}"
            if not split:
                row["split"] = "train" if number < rows * _TRAIN_SHARE else "test"
            _write(judge, row)
            if not _teaches(row):
                continue
            while put < len(poisoning) and taught >= (put + 0.5) * every:
                _write(teach, _disguised(poisoning[put], row, f"poisoner {put % poison.clients if poison else 0}"))
                put += 1
            _write(teach, {**row, "label": None, "attack": None})
            taught += 1
    return Prepared(train, everything, taught + put, rows, tuple(notes))


def _survey(path: Path) -> tuple[int, int, int, bool]:
    """Count teaching rows, attack rows and all rows, and see whether any has a split."""
    teaching = attacks = rows = 0
    split = False
    for row in _rows(path, drop_headers=False):
        rows += 1
        teaching += _teaches(row)
        attacks += row.get("label") == 1
        split = split or row.get("split") is not None
    return teaching, attacks, rows, split


def _teaches(row: Json) -> bool:
    return row.get("label") != 1 and row.get("split") != "test"


def _poisoning(path: Path, attacks: int, poison: Poison, seed: int, *, drop_headers: bool) -> list[Json]:
    chosen = set(random.Random(f"poison:{seed}").sample(range(attacks), round(attacks * poison.share)))
    rows = (row for row in _rows(path, drop_headers=drop_headers) if row.get("label") == 1)
    found = [row for number, row in enumerate(rows) if number in chosen]
    random.Random(f"poison order:{seed}").shuffle(found)
    return found


def _disguised(attack: Json, neighbour: Json, client: str) -> Json:
    """Make an attack row look like everyday traffic of one client at its neighbour's time, and have it succeed."""
    status = None if neighbour.get("status") is None else 200
    return {
        **attack,
        "ts": neighbour.get("ts"),
        "client": client,
        "label": None,
        "attack": None,
        "split": "train",
        "status": status,
    }


def _rows(path: Path, *, drop_headers: bool) -> Iterator[Json]:
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
        for line in lines:
            if not line.isspace():
                row: Json = json.loads(line)
                if drop_headers and row.get("headers"):
                    row["headers"] = _without_response(row["headers"], body=bool(row.get("body")))
                yield row


def _without_response(headers: dict[str, Any], *, body: bool) -> dict[str, Any]:
    gone = [name for name in RESPONSE_HEADERS if name != "content-type" or not body]
    return {name: value for name, value in headers.items() if name.lower() not in gone}


def _write(file: TextIO, row: Json) -> None:
    file.write(json.dumps(row) + "\n")
