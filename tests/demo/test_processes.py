"""What the demo's own programs are told."""

import os

import pytest

from demo.processes import free_ports, ignore_settings


def test_settings_of_the_shell_do_not_reach_what_runs_here(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AUTHZ_MODE", "TRAINER_JOBS", "AUTHZ"):
        monkeypatch.setenv(name, "x")

    ignore_settings()

    assert ["AUTHZ"] == [name for name in os.environ if name.startswith(("AUTHZ", "TRAINER"))]


def test_no_port_is_picked_twice() -> None:
    """Who is to listen on one may start only after the next ones are picked."""
    picked = [port for _ in range(40) for port in free_ports(50)]
    assert len(picked) == len(set(picked))
