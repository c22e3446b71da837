"""The sidecar's command and probe, as the manifest has them, run the real server: any user's Envoy may connect to its socket."""

import os
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from demo.processes import ROOT, Process, answers, free_ports
from tests.istio_manifests.manifests import build, containers, settings

OBJECTS = build("overlays/sidecar")
[CONTAINER] = [container for name, container, _ in containers(OBJECTS) if name == "authz-server"]
SECONDS = 30


@pytest.fixture
def python(tmp_path: Path) -> dict[str, str]:
    """An environment where `python` is this one, as it is in the image."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    (tmp_path / "bin" / "python").chmod(0o755)
    return {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}


def test_the_socket_can_be_connected_to_by_any_user_and_the_probe_sees_the_server(tmp_path: Path, python: dict[str, str]) -> None:
    [port] = free_ports(1)
    admin = f"127.0.0.1:{port}"
    given = {name: value for name, value in settings(OBJECTS, CONTAINER).items() if name.startswith("AUTHZ_")}
    given |= {
        "AUTHZ_LISTEN": f"unix:{tmp_path}/authz.sock",
        "AUTHZ_ADMIN": admin,
        "AUTHZ_POLICY": str(ROOT / "policies" / "enforcement.yaml"),
        "AUTHZ_BUNDLE": "",
        "AUTHZ_RECORD": str(tmp_path / "calls"),
        "AUTHZ_WORKLOADS": "shop/cart",
    }
    probe = [word.replace("9192", str(port)) for word in CONTAINER["livenessProbe"]["exec"]["command"]]
    server = Process("authz_server", CONTAINER["command"], tmp_path / "log", python | given)
    try:
        server.wait_ready(answers(f"http://{admin}/readyz"))
        mode = (tmp_path / "authz.sock").stat().st_mode
        alive = subprocess.run(probe, env=python, timeout=SECONDS, check=False).returncode
    finally:
        server.stop()
    dead = subprocess.run(probe, env=python, timeout=SECONDS, check=False, stderr=subprocess.DEVNULL).returncode

    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o777  # connect(2) wants write permission, and Envoy is another user
    assert (alive, dead == 0) == (0, False)
