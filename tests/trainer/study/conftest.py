"""What keeps the study's tests cheap."""

import pytest

from trainer.study import charts


@pytest.fixture
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw plots of few dots, a quarter cheaper, where nobody looks at them."""
    monkeypatch.setattr(charts, "_STYLE", {**charts._STYLE, "figure.dpi": 20, "savefig.dpi": 20})
