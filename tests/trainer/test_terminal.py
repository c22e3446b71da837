from pathlib import Path

import pytest

from trainer import terminal
from trainer.imports import Imports


def test_progress_is_plain_lines_where_there_is_no_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "_LINE_SECONDS", 0.0)
    path = tmp_path / "calls.jsonl"
    path.write_bytes(b"x" * 100)
    with terminal.track_import([str(path), "-"]) as progress:
        progress(Imports(read=50, written=1234))
    assert "imported 1,234 calls, 50% of the files\n" == capsys.readouterr().err


@pytest.mark.parametrize(("said", "expected"), [("60", 60), ("7", 40), ("", 100), ("wide", 100)])
def test_lines_are_as_wide_as_the_terminal_or_as_somebody_says(said: str, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", said)
    assert expected == terminal.columns(100)
