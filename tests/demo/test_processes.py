"""What the demo's own programs are told."""

import os

import pytest

from demo.processes import ignore_settings


def test_settings_of_the_shell_do_not_reach_what_runs_here(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AUTHZ_MODE", "TRAINER_JOBS", "AUTHZ"):
        monkeypatch.setenv(name, "x")

    ignore_settings()

    assert ["AUTHZ"] == [name for name in os.environ if name.startswith(("AUTHZ", "TRAINER"))]
