"""Seeded traffic of a made-up API to which something new comes all the time, and in clusters: what calibration is hardest on.

In: a seed and a number of calls. Out: records in time order. A visitor's name, street and note stand in several calls; now and
then one has a mark that few have. Numbers are heavy-tailed, so that the greatest is always still to come. Visitors have a session
or, with `named` False, nothing to be told apart by.
"""

import json
import random
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote

from authz_server.engine.canonical import RawCall
from authz_server.engine.observe import Observer
from authz_server.engine.record import CallRecord
from trainer.importers.imported import ImportedCall, to_record

__all__ = ["records"]

_START: Final = 1_750_000_000.0
_LETTERS: Final = "abcdefghijklmnoprstuvwz"
_MARKS: Final = ("'s", " & co", ", jr", "-x", "/2", " (a)", "!", "é", "#3", " 12")
_MARKED: Final = 0.002
"""Share of the names that have a mark."""
_FAX: Final = 0.003
"""Share of the visitors who send a field that others don't."""

_Step = tuple[str, str, dict[str, object] | None]
"""Method, target, body."""


def records(seed: int, calls: int, observer: Observer, *, named: bool) -> list[CallRecord]:
    """Make at least so many calls."""
    rng = random.Random(f"novelty:{seed}")
    timed: list[tuple[float, int, _Step]] = []
    now, visitor = _START, 0
    while len(timed) < calls:
        now += rng.expovariate(0.2)
        visitor += 1
        timed += [(now + rng.uniform(0.5, 8) * number, visitor, step) for number, step in enumerate(_visit(rng))]
    timed.sort(key=lambda one: one[:2])
    return [_record(number, *one, observer, named=named) for number, one in enumerate(timed)]


def _record(number: int, ts: float, visitor: int, step: _Step, observer: Observer, *, named: bool) -> CallRecord:
    method, target, body = step
    headers = {"user-agent": "made-up/1", **({"content-type": "application/json"} if body is not None else {})}
    data = json.dumps(body).encode() if body is not None else None
    session = f"v{visitor}" if named else ""
    raw = RawCall(ts, method, target, headers, data, len(data or b""), workload="made-up/api", session=session)
    return to_record(ImportedCall(number, raw, 200), observer, (), f"novelty-{number:x}")


def _visit(rng: random.Random) -> Iterator[_Step]:
    who: dict[str, object] = {
        "name": _text(rng, _MARKED),
        "street": f"{_text(rng, _MARKED)} {int(rng.paretovariate(1.2) * 3)}",
        "city": _text(rng, _MARKED / 2),
        "note": _text(rng, _MARKED * 3),
    }
    if rng.random() < _FAX:
        who["fax"] = str(rng.randrange(10**6))
    for _ in range(min(30, int(rng.lognormvariate(1.2, 0.8)))):
        item, page = int(rng.paretovariate(0.9) * 10), min(400, int(rng.paretovariate(1.5)))
        yield "GET", f"/items/{item}?page={page}", None
    if rng.random() < 0.5:
        yield "GET", f"/search?q={quote(_text(rng, _MARKED))}", None
    for _ in range(rng.choice((0, 1, 1, 2, 3))):
        yield "PUT", "/profile", who
        price = round(rng.lognormvariate(3, 1.2), 2)
        yield "POST", "/orders", {**who, "count": int(rng.paretovariate(1.3)), "price": price}


def _text(rng: random.Random, marked: float) -> str:
    words = [_word(rng) for _ in range(rng.choice((1, 1, 1, 2, 2, 3)))]
    return " ".join(words) + (rng.choice(_MARKS) if rng.random() < marked else "")


def _word(rng: random.Random) -> str:
    return "".join(rng.choice(_LETTERS) for _ in range(max(2, int(rng.lognormvariate(1.7, 0.35)))))
