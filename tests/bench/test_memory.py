"""The calls that training's memory is measured with: a part that is made, and again and again as new."""

from pathlib import Path

import pytest

from bench import memory
from trainer.store import read_calls


def test_calls_that_come_again_are_new_ones_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_MADE", 60)
    monkeypatch.setattr(memory, "_SELDOM", 5)
    made = memory._make(150, 1, str(tmp_path / "store"))
    calls = list(read_calls(str(tmp_path / "store")))
    first = [call for call in calls if call.id.count("-") == 1]
    again = [call for call in calls if call.id.endswith("-1") and call.id.count("-") == 2]

    assert made == len(calls) == len({call.id for call in calls}) >= 150
    assert max(call.ts for call in first) < min(call.ts for call in again)
    assert [call.path for call in first] == [call.path for call in again]
    assert {call.session for call in again} - {call.session for call in first}
