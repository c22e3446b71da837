"""When alerts come: the decision log is followed while it is written, as anybody who wants to be told would."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

LOOK_SECONDS = 0.05
_ALERT = b'"basis":"afterwards"'


@asynccontextmanager
async def alerts(decision_log: Path) -> AsyncIterator[Mapping[str, float]]:
    """Note when each alert comes from now on, by request id, in seconds of the monotonic clock."""
    came: dict[str, float] = {}
    with decision_log.open("rb") as log:
        log.seek(0, 2)
        task = asyncio.create_task(_follow(log, came))
        try:
            yield came
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def _follow(log: BinaryIO, came: dict[str, float]) -> None:
    rest = b""
    while True:
        *lines, rest = (rest + log.read()).split(b"\n")
        for line in lines:
            if _ALERT in line:
                came.setdefault(json.loads(line)["request_id"], time.monotonic())
        await asyncio.sleep(LOOK_SECONDS)
