"""Sessions of a workflow spread over time, as rows of the `calls` shape, in the order of time.

A split is honest sessions and, but for `train`, abusive ones of each kind, all from a seed of its own: `train` teaches, on `dev`
things are chosen, `test` is looked at for the result alone. Sessions begin through a day more in the evening than at night.
"""

import json
import math
import random
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Any, Final, TextIO

import msgspec

from bench.workflows.session import Call, Workflow

__all__ = ["ABUSES", "SESSIONS", "Session", "Split", "sessions_of", "to_rows", "write_rows"]

SESSIONS: Final = 10_000
ABUSES: Final = 1_000
"""Abusive sessions of each kind."""
_BEGIN: Final = 1_750_000_000.0
_DAY: Final = 86_400.0
_DAYS: Final = 5
_AGENTS: Final = ("Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0", "Mozilla/5.0 (Macintosh) Safari/619.1", "app/7.2 (Android 16)")

Row = dict[str, Any]


class Split(StrEnum):
    """What sessions are for."""

    TRAIN = "train"
    DEV = "dev"
    TEST = "test"


class Session(msgspec.Struct, frozen=True):
    """One client's session: when it begins (seconds since the epoch), its calls, and the kind of abuse (empty: honest)."""

    client: str
    begin: float
    agent: str
    attack: str
    calls: list[Call]


def sessions_of(workflow: Workflow, split: Split, seed: int, honest: int = SESSIONS, abusive: int = ABUSES) -> list[Session]:
    """Make the sessions of a split: as many honest ones, and as many abusive ones of each kind (none in `train`)."""
    rng = random.Random(f"{workflow.name}:{split}:{seed}")
    kinds = [""] * honest + [kind for kind in workflow.abuses for _ in range(0 if split is Split.TRAIN else abusive)]
    rng.shuffle(kinds)
    begin = _BEGIN + list(Split).index(split) * (_DAYS + 1) * _DAY
    found = []
    for number, kind in enumerate(kinds):
        calls = workflow.abusive(rng, kind) if kind else workflow.honest(rng)
        client = f"{split}-{number}-{rng.getrandbits(48):012x}"
        found.append(Session(client, begin + _time_of_day(rng) + rng.randrange(_DAYS) * _DAY, rng.choice(_AGENTS), kind, calls))
    return found


def _time_of_day(rng: random.Random) -> float:
    """Choose a second of a day by a wave that is highest in the evening, by rejection."""
    while True:
        second = rng.uniform(0.0, _DAY)
        if rng.random() < 0.55 + 0.45 * math.sin(2 * math.pi * (second / _DAY - 0.55)):
            return second


def to_rows(workflow: Workflow, split: Split, sessions: Sequence[Session]) -> Iterator[Row]:
    """Put all calls in the order of time, as rows."""
    timed = [
        (session.begin + call.at, number, index)
        for number, session in enumerate(sessions)
        for index, call in enumerate(session.calls)
    ]
    for ts, number, index in sorted(timed):
        session = sessions[number]
        call = session.calls[index]
        yield {
            "ts": round(ts, 3),
            "client": session.client,
            "dst": workflow.workload,
            "method": call.method,
            "path": call.path,
            "headers": {"user-agent": session.agent, **({"content-type": "application/json"} if call.body is not None else {})},
            "body": json.dumps(call.body) if call.body is not None else None,
            "status": call.status,
            "duration_ms": round(call.seconds * 1000, 1),
            "label": int(call.attack),
            "attack": session.attack if call.attack else None,
            "split": str(split),
            "session_attack": session.attack or None,
        }


def write_rows(rows: Iterator[Row], file: TextIO) -> int:
    """Write rows as JSON lines; return how many."""
    count = 0
    for row in rows:
        file.write(json.dumps(row) + "\n")
        count += 1
    return count
