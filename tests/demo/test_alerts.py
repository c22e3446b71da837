"""When an alert came is when its line could be read."""

import asyncio
from pathlib import Path

from demo.alerts import alerts

ALERT = '{"event":"decision","request_id":"%s","basis":"afterwards"}'


def test_alerts_are_noted_as_they_are_written(tmp_path: Path) -> None:
    log = tmp_path / "decisions.jsonl"
    log.write_text(f"{ALERT % 'old'}\n")

    async def follow() -> dict[str, float]:
        async with alerts(log) as came, asyncio.timeout(10):
            with log.open("a") as file:
                file.write(f'{{"event":"decision","request_id":"other","basis":"judged"}}\n{ALERT % "new"}'[:-5])
                file.flush()
                await asyncio.sleep(0.2)
                assert not came
                file.write(f"{(ALERT % 'new')[-5:]}\n")
            while not came:
                await asyncio.sleep(0.01)
            return dict(came)

    assert ["new"] == list(asyncio.run(follow()))
