"""Seeded traffic of a shop whose pace varies, on which the volume model was developed, so that real logs could stay unseen.

In: a seed and a number of days. Out: records in time order: visitors with a daily and weekly rhythm, heavy-tailed in what they
load, some behind one address; a crawler that is always there; a batch job each night; on one day a sale, with four times the
visitors, who load more. And attackers, each as the calls of some minutes.
"""

import random
from collections.abc import Iterator
from typing import Final

from authz_server.engine.canonical import RawCall
from authz_server.engine.observe import Observer
from authz_server.engine.record import CallRecord
from trainer.importers.imported import ImportedCall, to_record

__all__ = ["ATTACKS", "DAY", "START", "WORKLOAD", "attack", "normal", "to_calls"]

START: Final = 1_750_032_000.0
"""A Monday, 0:00 UTC."""
DAY: Final = 86_400.0
WORKLOAD: Final = "shop/web"
ATTACKS: Final = ("flood", "dear-page", "many-callers", "crawler-scan", "id-enumeration", "credential-stuffing")
_VISITS: Final = 130
"""A day's, on average."""
_SALE: Final = 0.6
"""When in the history the sale is."""
_BATCH: Final = 400
"""Orders that the nightly batch exports, in about 5 minutes."""
_PAGES: Final = {
    "/": (9_000, 12.0),
    "/search": (30_000, 240.0),
    "/cart": (2_000, 20.0),
    "/login": (500, 60.0),
    "/report": (900_000, 4_000.0),
}
"""Response bytes and milliseconds of the pages; an item is 4,000 bytes and 15 ms."""

_Row = tuple[float, str, str, str, str, int]
"""When, session, address, method, target, status."""


def normal(seed: int, days: int, observer: Observer) -> list[CallRecord]:
    """Make the normal traffic of some days, in time order."""
    rows: list[_Row] = []
    for day in range(days):
        rng = random.Random(f"{seed}:{day}")
        sale = day == int(days * _SALE)
        weekend = 0.6 if day % 7 >= 5 else 1.0
        for visit in range(round(_VISITS * weekend * (4 if sale else 1) * rng.uniform(0.8, 1.2))):
            ts = START + day * DAY + _time_of_day(rng) * 3600
            address = f"10.0.0.{rng.randrange(4)}" if rng.random() < 0.1 else f"10.1.{rng.randrange(40)}.{rng.randrange(250)}"
            rows += _visit(rng, ts, f"v{day}-{visit}", address, 2.0 if sale else 1.0)
        rows += _batch(rng, START + day * DAY + 2 * 3600)
        rows += _crawler(rng, START + day * DAY)
    return list(to_calls(sorted(rows), observer))


def attack(name: str, seed: int, ts: float, observer: Observer) -> list[CallRecord]:
    """Make 10 minutes of an attack that begins at `ts`; its rates are of the attack, not of what is normal."""
    rng = random.Random(f"{name}:{seed}:{ts}")
    rows: list[_Row] = []
    at = ts
    while at < ts + 600:
        number = len(rows)
        if name == "flood":
            rows.append((at, "flooder", "10.9.0.1", "GET", "/", 200))
            at += 0.05
        elif name == "dear-page":
            rows.append((at, "dear", "10.9.0.2", "GET", "/report", 200))
            at += 2.0
        elif name == "many-callers":
            rows.append((at, f"m{number % 400}", f"10.9.2.{number % 400}", "GET", "/search", 200))
            at += 0.05
        elif name == "crawler-scan":
            rows.append((at, "scan", "10.9.0.3", "GET", f"/{rng.choice('abcdefgh')}{number}/admin", 404))
            at += 1.0
        elif name == "id-enumeration":
            rows.append((at, "enum", "10.9.0.4", "GET", f"/items/{5000 + number}", 200))
            at += 1.0
        else:
            rows.append((at, f"c{number}", "10.9.0.5", "POST", "/login", 401))
            at += 1.0
    return list(to_calls(rows, observer))


def to_calls(rows: list[_Row], observer: Observer) -> Iterator[CallRecord]:
    """Make records of rows."""
    for number, (ts, session, address, method, target, status) in enumerate(rows):
        raw = RawCall(ts, method, target, {}, workload=WORKLOAD, address=address, session=session)
        size, duration = _PAGES.get(target.partition("?")[0], (4_000, 15.0))
        yield to_record(ImportedCall(number, raw, status, size, duration), observer, (), f"n-{number}")


def _time_of_day(rng: random.Random) -> float:
    """Draw an hour: most in the evening, few at night."""
    while True:
        hour = rng.uniform(0, 24)
        if rng.random() < 0.05 + 0.95 * max(0.0, 1 - abs(hour - 18) / 9):
            return hour


def _visit(rng: random.Random, ts: float, session: str, address: str, eager: float) -> list[_Row]:
    rows: list[_Row] = [(ts, session, address, "GET", "/", 200)]
    for _ in range(min(150, round(rng.lognormvariate(2.0, 0.8) * eager))):
        ts += rng.expovariate(1 / 12.0) if rng.random() < 0.5 else rng.uniform(0.1, 0.6)
        chance = rng.random()
        if chance < 0.7:
            rows.append((ts, session, address, "GET", f"/items/{1000 + min(999, int(rng.paretovariate(0.8) * 3))}", 200))
        elif chance < 0.9:
            rows.append((ts, session, address, "GET", f"/search?page={rng.randrange(1, 9)}", 200))
        elif chance < 0.97:
            rows.append((ts, session, address, "POST", "/cart", 200))
        elif chance < 0.997:
            rows.append((ts, session, address, "POST", "/login", 401 if rng.random() < 0.15 else 200))
        else:
            rows.append((ts, session, address, "GET", "/report", 200))
    return rows


def _batch(rng: random.Random, ts: float) -> list[_Row]:
    rows: list[_Row] = []
    for number in range(round(_BATCH * rng.uniform(0.8, 1.25))):
        ts += rng.uniform(0.2, 1.2)
        rows.append((ts, "batch", "10.0.9.9", "GET", f"/items/{1000 + number % 900}", 200))
    return rows


def _crawler(rng: random.Random, ts: float) -> list[_Row]:
    rows: list[_Row] = []
    for hour in range(24):
        at = ts + hour * 3600 + rng.uniform(0, 2000)
        for _ in range(rng.randrange(5, 25)):
            at += rng.uniform(1, 20)
            found = rng.random() < 0.9
            rows.append((at, "crawler", "10.0.8.8", "GET", f"/items/{1000 + rng.randrange(900)}", 200 if found else 404))
    return rows
